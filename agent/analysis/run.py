"""From what is written to what is wrong with it: reading, analysing, leaving out what its author knows."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from agent import documents
from agent.analysis import templates
from agent.analysis.analyzers import ANALYZERS, ONLY_IF_NAMED
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.messages import MESSAGES
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.reading import read_mesh_config
from agent.api.objects import NamedObject
from agent.api.validation import validate
from agent.api.validation.kinds import is_judged
from agent.documents import UnreadableError
from agent.errors import ConfigError, InvalidObjectError
from agent.manifests import Key, Written, written

logger = logging.getLogger(__name__)

INTERNAL_ERROR: Final = "IST0001"
SCHEMA_ERROR: Final = "IST0106"
SCHEMA_WARNING: Final = "IST0133"
SUPPRESS_ANNOTATION: Final = "galley.istio.io/analyze-suppress"


@dataclass(slots=True)
class Material:
    """What there is to analyse, and what was found wrong on reading it.

    mesh: the mesh's settings in place of its ConfigMap's. unread: kinds that could not be read.
    """

    entries: dict[tuple[str, Key], Entry[NamedObject]] = field(default_factory=dict)  # by module of the model, too:
    # two kinds are called Gateway
    findings: list[Finding] = field(default_factory=list)
    mesh: MeshConfig | None = None
    unread: set[type[NamedObject]] = field(default_factory=set)
    _seen: set[tuple[str, Key]] = field(default_factory=set)

    def add_text(self, text: str | UnreadableError, file: str) -> None:
        """Take in a file's objects; one that is written later takes the place of its namesake."""
        try:
            if isinstance(text, UnreadableError):
                raise text
            for one in written(text, file):
                self.add(one)
        except UnreadableError as exc:
            self._refuse(file, exc.line, None, exc.reason)

    def add(self, one: Written) -> None:
        """Take in one object; a fault that the validation finds is a finding, of each field its own."""
        if one.key is None or not isinstance(one.value, dict):
            if isinstance(one.value, dict) and not is_judged(one.value.get("apiVersion"), one.value.get("kind")):
                return  # such as a Kustomization, which has no name
            self._refuse(one.file, one.lines.line, None, "an object needs apiVersion, kind and metadata.name")
            return
        answer = validate(one.value, one.file)
        resource = answer.resource or templates.read(one.value)
        key = _key(one.key, resource)
        self._forget(str(one.value.get("apiVersion", "")).rpartition("/")[0], key)
        for code, faults in ((SCHEMA_ERROR, answer.errors), (SCHEMA_WARNING, answer.warnings)):
            for fault in faults:
                said = f"{fault.field}: {fault.text}"
                self._refuse(one.file, one.lines.find(fault.path), key, said, fault.code or code)
        if resource is not None:
            self.replace(Entry(key, resource, one.file, one.lines))

    def _forget(self, group: str, key: Key) -> None:
        """What was said of a namesake that was read before is said no more."""
        if (group, key) in self._seen:
            self.findings = [finding for finding in self.findings if finding.key != key]
        self._seen.add((group, key))

    def replace(self, entry: Entry[NamedObject]) -> None:
        """Take in an object, in the place of its namesake."""
        self.entries[type(entry.value).__module__, entry.key] = entry

    def add_mesh_config(self, text: str, file: str) -> None:
        """Take in the settings of the mesh, as a file has them; raises InvalidObjectError naming what is wrong."""
        try:
            found = documents.load(text)
        except UnreadableError as exc:
            raise InvalidObjectError(f"{file}:{exc.line}: {exc}") from exc
        self.mesh = read_mesh_config(found[0].value if found else None, file).value

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
    """The findings, the worst first. `names` chooses analyzers; without any, all but ONLY_IF_NAMED."""
    corpus = Corpus(material.entries.values(), material.mesh, material.unread)
    chosen = [name for name in ANALYZERS if name in (names or ANALYZERS.keys() - ONLY_IF_NAMED)]
    found = {*material.findings, *(finding for name in chosen for finding in _run(name, corpus))}
    suppressions = tuple(suppressions)
    annotated = _annotated(material)
    known = (
        finding
        for finding in found
        if not any(each.covers(finding) for each in suppressions) and not _is_annotated(annotated, finding)
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


def _key(key: Key, resource: NamedObject | None) -> Key:
    """With the namespace that the object is in: `default` if a manifest says none."""
    return Key(key.kind, resource.metadata.namespace, key.name) if resource else key


def _annotated(material: Material) -> dict[Key, frozenset[str]]:
    """The codes that an object's own annotation leaves out, * for all."""
    found: dict[Key, frozenset[str]] = {}
    for entry in material.entries.values():
        codes = entry.value.metadata.annotations.get(SUPPRESS_ANNOTATION, "")
        if codes:
            found[entry.key] = frozenset(code.strip() for code in codes.split(","))
    return found


def _is_annotated(annotated: dict[Key, frozenset[str]], finding: Finding) -> bool:
    codes = annotated.get(finding.key) if finding.key else None
    return codes is not None and (finding.code in codes or "*" in codes)


def _order(finding: Finding) -> tuple[str, int, str, str, str]:
    return finding.file, finding.line, finding.code, str(finding.key), finding.text
