"""Reading what a person wrote: YAML or JSON files with any number of objects. Rules only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent import documents
from agent.api.faults import in_words
from agent.api.validation import validate
from agent.documents import Lines, UnreadableError
from agent.kube import Kind, Object, kind_of

SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 16 * 1024 * 1024  # ten times what an API server takes for one object; a file may hold many


@dataclass(frozen=True, slots=True)
class Key:
    """Which object: `namespace` is empty for a cluster-scoped one."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Written:
    """What stands where one object is due; `key` is None if that cannot be named."""

    value: object
    file: str
    lines: Lines = field(compare=False, repr=False)
    key: Key | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as its file has it, with its namespace filled in."""

    key: Key
    kind: Kind
    object: Object
    file: str


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, in a sentence that names file, object and field; `line` from 1, 0 if not of one line."""

    file: str
    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says now.

    kept: objects of kinds that the lab does not run. broken: objects that cannot be used;
    None among them stands for one that cannot even be named.
    """

    manifests: tuple[Manifest, ...] = ()
    kept: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Key | None] = field(default=frozenset())


def decode(data: bytes, file: str) -> str:
    """The text of a file; raises UnreadableError if it is too large or not UTF-8."""
    if len(data) > MAX_BYTES:
        raise UnreadableError(1, f"larger than {MAX_BYTES // 1024**2} MiB; split it", file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise UnreadableError(
            line, f"byte {data[exc.start]:#04x}: not UTF-8, which is accepted", f"{file}:{line}"
        ) from exc


def written(text: str, file: str) -> list[Written]:
    """What a file holds, the items of a List one by one; raises UnreadableError that names file and line."""
    try:
        found = documents.load(text)
    except UnreadableError as exc:
        raise UnreadableError(exc.line, exc.reason, f"{file}:{exc.line}") from exc
    items = (item for document in found for item in _items(document))
    return [Written(value, file, lines, _key(value)) for value, lines in items]


def read(text: str, file: str) -> Reading:
    """The objects of a file. Never raises: what is wrong is a problem of the reading."""
    manifests: list[Manifest] = []
    kept: list[str] = []
    problems: list[Problem] = []
    broken: set[Key | None] = set()
    try:
        objects = written(text, file)
    except UnreadableError as exc:
        return Reading(problems=(Problem(file, str(exc), exc.line),), broken=frozenset({None}))
    for number, one in enumerate(objects, 1):
        key, line = one.key, one.lines.line
        if key is None or not isinstance(one.value, dict):
            problems.append(Problem(file, f"{file}: object {number} has no apiVersion, kind or metadata.name", line))
            broken.add(None)
            continue
        kind = kind_of(one.value["apiVersion"], one.value["kind"])
        if kind is None:
            kept.append(str(key))
            continue
        found = {**_qualified(one.value, key), "apiVersion": kind.api_version}
        answer = validate(found, file)
        if answer.resource is None:
            line = one.lines.find(answer.errors[0].path)
            problems.append(Problem(file, f"{file}:{line}: {key}: {in_words(answer.errors)}", line))
            broken.add(key)
        else:
            manifests.append(Manifest(key, kind, found, file))
    return Reading(tuple(manifests), tuple(kept), tuple(problems), frozenset(broken))


def still_good(before: Sequence[Manifest], now: Reading) -> tuple[Manifest, ...]:
    """What a file stands for now: a broken object stays as it last was good.

    While an object cannot even be named, any that has vanished may be that one, so all stay.
    """
    present = {manifest.key for manifest in now.manifests}
    stay = tuple(
        manifest
        for manifest in before
        if manifest.key not in present and (None in now.broken or manifest.key in now.broken)
    )
    return (*now.manifests, *stay)


def combine(files: Mapping[str, Sequence[Manifest]]) -> tuple[dict[Key, Manifest], list[Problem]]:
    """All files together: of two that name one object the first by name counts, and the other is a problem."""
    wanted: dict[Key, Manifest] = {}
    problems: list[Problem] = []
    for file in sorted(files):
        for manifest in files[file]:
            first = wanted.setdefault(manifest.key, manifest)
            if first is not manifest:
                problems.append(Problem(file, f"{file}: {manifest.key} is in {first.file} too, which counts"))
    return wanted, problems


def in_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    """As they are to be stored: what others refer to comes first."""
    rank = {name: i for i, name in enumerate(("Namespace", "ServiceAccount", "Service"))}
    return sorted(manifests, key=lambda manifest: (rank.get(manifest.kind.name, len(rank)), str(manifest.key)))


def _items(document: documents.Document) -> Iterator[tuple[object, Lines]]:
    value, lines = document.value, document.lines
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        inside = lines.inside["items"].inside if "items" in lines.inside else {}
        yield from ((item, inside.get(number, lines)) for number, item in enumerate(value["items"]))
    else:
        yield value, lines


def _key(document: object) -> Key | None:
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        return None
    metadata = document["metadata"]
    kind, name, namespace = document.get("kind"), metadata.get("name"), metadata.get("namespace") or ""
    if not all(isinstance(part, str) and part for part in (document.get("apiVersion"), kind, name)):
        return None
    known = kind_of(document["apiVersion"], document["kind"])
    if known is not None:
        namespace = (namespace or "default") if known.is_namespaced else ""
    return Key(str(kind), str(namespace), str(name))


def _qualified(document: Object, key: Key) -> Object:
    metadata = {name: value for name, value in document["metadata"].items() if name != "namespace"}
    return {**document, "metadata": {**metadata, **({"namespace": key.namespace} if key.namespace else {})}}
