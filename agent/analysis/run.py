"""From what is written to what is wrong with it: reading, analysing, leaving out what its author knows."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from agent.analysis.analyzers import ANALYZERS
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.messages import MESSAGES
from agent.api.objects import NamedObject
from agent.api.validation import validate
from agent.documents import UnreadableError
from agent.errors import ConfigError
from agent.manifests import Key, Written, written

logger = logging.getLogger(__name__)

INTERNAL_ERROR: Final = "IST0001"
SCHEMA_ERROR: Final = "IST0106"
SCHEMA_WARNING: Final = "IST0133"
SUPPRESS_ANNOTATION: Final = "galley.istio.io/analyze-suppress"


@dataclass(slots=True)
class Material:
    """What there is to analyse, and what was found wrong on reading it."""

    entries: dict[Key, Entry[NamedObject]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add_text(self, text: str | UnreadableError, file: str) -> None:
        """Take in a file's objects; one that is written later takes the place of its namesake."""
        try:
            if isinstance(text, UnreadableError):
                raise text
            for one in written(text, file):
                self.add(one)
        except UnreadableError as exc:
            said = str(exc).removeprefix(f"{file}:{exc.line}: ").removeprefix(f"{file}: ")
            self._refuse(file, exc.line, None, said)

    def add(self, one: Written) -> None:
        """Take in one object; a fault that the validation finds is a finding, of each field its own."""
        if one.key is None or not isinstance(one.value, dict):
            self._refuse(one.file, one.lines.line, None, "an object needs apiVersion, kind and metadata.name")
            return
        answer = validate(one.value, one.file)
        for code, faults in ((SCHEMA_ERROR, answer.errors), (SCHEMA_WARNING, answer.warnings)):
            for fault in faults:
                self._refuse(one.file, one.lines.find(fault.path), one.key, f"{fault.field}: {fault.text}", code)
        if answer.resource is not None:
            self.entries[one.key] = Entry(one.key, answer.resource, one.file, one.lines)

    def _refuse(self, file: str, line: int, key: Key | None, said: str, code: str = SCHEMA_ERROR) -> None:
        text = MESSAGES[code].text.format(error=said.removeprefix(": "))
        self.findings.append(Finding(file, line, code, key, text))


@dataclass(frozen=True, slots=True)
class Suppression:
    """Findings that their author knows of, written CODE=KIND NAME[.NAMESPACE], with * for any text."""

    code: str
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Suppression:
        """Raises ConfigError for another form, or a code that does not exist."""
        code, _, rest = text.partition("=")
        kind, _, name = rest.partition(" ")
        if not (kind and name.strip()):
            raise ConfigError(
                f'--suppress {text!r}: accepted is CODE=KIND NAME.NAMESPACE, as in "IST0102=Namespace shop"'
            )
        if code not in MESSAGES:
            raise ConfigError(f"--suppress {text!r}: there is no code {code}; `weft analyze --explain all` lists them")
        return cls(code, kind, name.strip())

    def covers(self, finding: Finding) -> bool:
        if finding.key is None or finding.code != self.code:
            return False
        full = f"{finding.key.name}.{finding.key.namespace}".removesuffix(".")
        return fnmatch.fnmatchcase(finding.key.kind, self.kind) and fnmatch.fnmatchcase(full, self.name)


def analyze(
    material: Material, *, names: Collection[str] = (), suppressions: Iterable[Suppression] = ()
) -> list[Finding]:
    """The findings, the worst first. `names` chooses analyzers; none means all."""
    corpus = Corpus(material.entries.values())
    chosen = [name for name in ANALYZERS if not names or name in names]
    found = {*material.findings, *(finding for name in chosen for finding in _run(name, corpus))}
    suppressions = tuple(suppressions)
    known = (
        finding
        for finding in found
        if not any(each.covers(finding) for each in suppressions) and not _is_annotated(material, finding)
    )
    return sorted(known, key=lambda finding: (-finding.message.level, *_order(finding)))


def _run(name: str, corpus: Corpus) -> Iterator[Finding]:
    """A fault of one analyzer must not hide what the others find."""
    try:
        yield from ANALYZERS[name](corpus)
    except Exception as exc:
        logger.exception("analyzer failed", extra={"analyzer": name})
        text = MESSAGES[INTERNAL_ERROR].text.format(analyzer=name, error=f"{type(exc).__name__}: {exc}")
        yield Finding("", 0, INTERNAL_ERROR, None, text)


def _is_annotated(material: Material, finding: Finding) -> bool:
    entry = material.entries.get(finding.key) if finding.key else None
    if entry is None:
        return False
    codes = entry.value.metadata.annotations.get(SUPPRESS_ANNOTATION, "")
    return finding.code in (code.strip() for code in codes.split(",")) or codes.strip() == "*"


def _order(finding: Finding) -> tuple[str, int, str, str, str]:
    return finding.file, finding.line, finding.code, str(finding.key), finding.text
