"""Reading YAML and JSON documents as Kubernetes reads them, with the line of every value.

Scalars resolve as kubectl resolves them (YAML 1.1 booleans, but neither base-60 numbers nor
timestamps); a key given twice, an alias that multiplies without bound, or a tag of another
program makes the text unreadable. Time and memory are bounded by the text's size, which is
bounded by whoever reads the file. What the values mean is left to others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import yaml

from agent.errors import InvalidObjectError

MAX_DEPTH: Final = 200  # a CRD's schema nests about 80 deep
MAX_ALIASED: Final = 100_000  # values that aliases may stand for, in one document
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE_TAGS: Final = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_BOOLEANS: Final = {
    word: word.lower() in ("y", "yes", "true", "on")
    for group in ("y yes true on n no false off", "Yes True On No False Off", "YES TRUE ON NO FALSE OFF", "Y N")
    for word in group.split()
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NUMBERS: Final = {".inf": math.inf, "-.inf": -math.inf, "+.inf": math.inf, ".nan": math.nan}
_INTEGER: Final = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

Step = str | int


class UnreadableError(InvalidObjectError):
    """The text is no YAML, or none that may be read; `line` counts from 1, `reason` names no place."""

    def __init__(self, line: int, reason: str, place: str = "") -> None:
        super().__init__(f"{place}: {reason}" if place else reason)
        self.line = line
        self.reason = reason


@dataclass(slots=True)
class Lines:
    """Where a value stands: its line from 1, and those of what it holds."""

    line: int
    inside: dict[Step, Lines] = field(default_factory=dict)

    def find(self, path: Sequence[Step]) -> int:
        """The line of the value at `path`, or of the nearest that holds it."""
        here = self
        for step in path:
            if step not in here.inside:
                break
            here = here.inside[step]
        return here.line


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a text. Values may share parts, so nobody may change them."""

    value: object
    lines: Lines


def load(text: str) -> list[Document]:
    """The documents of a text, empty ones left out; raises UnreadableError."""
    try:
        return [found for found in _Builder().build(text) if found.value is not None]
    except (yaml.YAMLError, UnreadableError) as exc:
        documents = _as_json(text)
        if documents is None:
            raise _unreadable(exc, text) from exc
        return documents


@dataclass(slots=True)
class _Open:
    """A map or a list that has begun."""

    value: dict[str, object] | list[object]
    lines: Lines
    anchor: str | None
    size: int = 1
    key: str | None = None  # of a map, while its value is awaited
    key_line: int = 0
    merged: list[Mapping[str, object]] = field(default_factory=list)
    is_merging: bool = False


class _Builder:
    """Turns the parser's events into values, without recursion."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[object, Lines, int]] = {}
        self._aliased = 0
        self._root: Document | None = None

    def build(self, text: str) -> Iterator[Document]:
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                if self._root is not None:
                    yield self._root
                self._root, self._anchors, self._aliased = None, {}, 0

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        line = _line(event)
        awaits_key = self._open and isinstance(self._open[-1].value, dict) and not self._has_key()
        if awaits_key and event.implicit[0] and event.value == "<<":
            self._open[-1].is_merging = True
            return
        value = _resolve(event.value, event.implicit[0], event.tag, line)
        if event.anchor:
            self._anchors[event.anchor] = value, Lines(line), 1
        self._put(value, Lines(line), 1)

    def _begin(self, event: yaml.CollectionStartEvent, value: dict[str, object] | list[object]) -> None:
        line = _line(event)
        if len(self._open) >= MAX_DEPTH:
            raise UnreadableError(line, f"nested deeper than {MAX_DEPTH} levels")
        _check_tag(event.tag, line)
        if self._open and isinstance(self._open[-1].value, dict) and not self._has_key():
            raise UnreadableError(line, "a key is a map or a list; accepted is a text")
        self._open.append(_Open(value, Lines(line), event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        for other in done.merged:
            for key, value in other.items():
                done.value.setdefault(key, value)  # type: ignore[union-attr]  # only maps merge
        if done.anchor:
            self._anchors[done.anchor] = done.value, done.lines, done.size
        self._put(done.value, done.lines, done.size)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise UnreadableError(line, f"*{event.anchor}: no value with this anchor ends before it")
        value, lines, size = self._anchors[event.anchor]
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise UnreadableError(line, f"*{event.anchor}: aliases stand for more than {MAX_ALIASED} values")
        self._put(value, Lines(line, lines.inside), size)

    def _has_key(self) -> bool:
        return self._open[-1].key is not None or self._open[-1].is_merging

    def _put(self, value: object, lines: Lines, size: int) -> None:
        if not self._open:
            self._root = Document(value, lines)
            return
        holder = self._open[-1]
        holder.size += size
        if isinstance(holder.value, list):
            holder.lines.inside[len(holder.value)] = lines
            holder.value.append(value)
        elif holder.is_merging:
            holder.is_merging = False
            holder.merged += _mergeable(value, lines.line)
        elif holder.key is None:
            holder.key, holder.key_line = _key(value, lines.line), lines.line
            if holder.key in holder.value:
                first = holder.lines.inside[holder.key].line
                raise UnreadableError(lines.line, f"key {holder.key!r} is given twice, first on line {first}")
        else:
            holder.value[holder.key] = value
            lines.line = holder.key_line
            holder.lines.inside[holder.key] = lines
            holder.key = None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _resolve(text: str, is_plain: bool, tag: str | None, line: int) -> object:
    _check_tag(tag, line)
    if tag is not None and tag.startswith("tag:"):
        return text if tag.endswith(":str") else _plain(text)
    return _plain(text) if is_plain else text


@lru_cache(maxsize=4096)
def _plain(text: str) -> object:
    """The value of an unquoted scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text)
    return _NUMBERS.get(text.lower(), text)


def _integer(digits: str) -> int | str:
    sign, digits = (-1, digits[1:]) if digits[0] == "-" else (1, digits.removeprefix("+"))
    for prefix, radix in (("0b", 2), ("0o", 8), ("0x", 16), ("0", 8)):
        if digits.startswith(prefix) and digits != "0":
            return sign * int(digits.removeprefix(prefix) or "0", radix)
    # int() takes quadratic time; no field of any object is longer than a 64-bit number.
    return sign * int(digits) if len(digits) <= 20 else digits


def _key(value: object, line: int) -> str:
    """Kubernetes reads YAML by way of JSON, whose keys are texts."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UnreadableError(line, "a key is a map, a list or null; accepted is a text")


def _mergeable(value: object, line: int) -> list[Mapping[str, object]]:
    parts = value if isinstance(value, list) else [value]
    maps = [part for part in parts if isinstance(part, Mapping)]
    if len(maps) != len(parts):
        raise UnreadableError(line, "<<: accepted is a map, or a list of maps")
    return maps


def _check_tag(tag: str | None, line: int) -> None:
    if tag is not None and tag != "!" and tag not in _CORE_TAGS:
        raise UnreadableError(line, f"tag {tag}: accepted are the tags of JSON's types, such as !!str")


def _as_json(text: str) -> list[Document] | None:
    """A JSON text that is no YAML (for example with surrogate pairs); None if it is no JSON either."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return [Document(json.loads(text, object_pairs_hook=_unique), Lines(1))]
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _unreadable(exc: yaml.YAMLError | UnreadableError, text: str) -> UnreadableError:
    if isinstance(exc, UnreadableError):
        line, said = exc.line, str(exc)
    elif isinstance(exc, yaml.MarkedYAMLError) and exc.problem_mark is not None:
        line, said = exc.problem_mark.line + 1, f"not YAML: {exc.problem}"
    elif isinstance(exc, yaml.reader.ReaderError):
        line, said = text.count("\n", 0, exc.position) + 1, f"not YAML: {exc.reason}"
    else:
        line, said = 1, f"not YAML: {' '.join(str(exc).split())}"
    if "{{" in text:
        said += "; it has {{ … }}, as a Helm template: render it first (helm template) and give the result"
    return UnreadableError(line, said)
