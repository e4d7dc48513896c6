"""Reading what a person wrote: YAML or JSON files with any number of objects. Rules only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from agent.api.kubernetes import parse
from agent.errors import InvalidObjectError
from agent.kube import Kind, Object, kind_of

SUFFIXES = (".yaml", ".yml", ".json")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Key:
    """Which object: `namespace` is empty for a cluster-scoped one."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as its file has it, with its namespace filled in."""

    key: Key
    kind: Kind
    object: Object
    file: str


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, in a sentence that names file, object and field."""

    file: str
    text: str


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


def read(text: str, file: str) -> Reading:
    """The objects of a file. Never raises: what is wrong is a problem of the reading."""
    manifests: list[Manifest] = []
    kept: list[str] = []
    problems: list[Problem] = []
    broken: set[Key | None] = set()
    try:
        documents = [_as_json(item) for document in yaml.load_all(text, _Loader) for item in _items(document)]
    except yaml.YAMLError as exc:
        return Reading(problems=(Problem(file, f"{file}: not YAML: {_one_line(exc)}"),), broken=frozenset({None}))
    for number, document in enumerate(documents, 1):
        key = _key(document)
        if key is None or not isinstance(document, dict):
            problems.append(Problem(file, f"{file}: object {number} has no apiVersion, kind or metadata.name"))
            broken.add(None)
            continue
        kind = kind_of(document["apiVersion"], document["kind"])
        if kind is None:
            kept.append(str(key))
            continue
        found = {**_qualified(document, key), "apiVersion": kind.api_version}
        try:
            parse(found, file)
        except InvalidObjectError as exc:
            problems.append(Problem(file, str(exc)))
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


def _items(document: object) -> Iterator[object]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        yield from document["items"]
    elif document is not None:
        yield document


def _as_json(value: object) -> object:
    """With numbers as keys (a port, say) turned into texts, as JSON has them."""
    if isinstance(value, dict):
        return {str(key) if type(key) is int else key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value


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


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
