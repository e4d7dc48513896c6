"""The objects to analyse, and what several analyzers ask of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from agent.analysis.messages import MESSAGES, Message
from agent.api.objects import NamedObject
from agent.documents import Lines, Step
from agent.manifests import Key

T = TypeVar("T", bound=NamedObject)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place where something is wrong. `file` is empty and `line` 0 for an object of a cluster."""

    file: str
    line: int
    code: str
    key: Key | None
    text: str

    @property
    def message(self) -> Message:
        return MESSAGES[self.code]


@dataclass(frozen=True, slots=True, eq=False)
class Entry(Generic[T]):
    """An object of the corpus, with where it comes from."""

    key: Key
    value: T
    file: str = ""
    lines: Lines = field(default_factory=lambda: Lines(0))

    @property
    def namespace(self) -> str:
        return self.key.namespace

    def finding(self, code: str, *path: Step, **facts: object) -> Finding:
        """This object has what the message says, in the field that `path` leads to."""
        text = MESSAGES[code].text.format(**facts)
        return Finding(self.file, self.lines.find(path), code, self.key, text)


class Corpus:
    """All objects that are each valid, by kind, namespace and name."""

    def __init__(self, entries: Iterable[Entry[NamedObject]]) -> None:
        self._by_model: dict[type[NamedObject], dict[tuple[str, str], Entry[NamedObject]]] = defaultdict(dict)
        for entry in entries:
            self._by_model[type(entry.value)][entry.key.namespace, entry.key.name] = entry

    def of(self, model: type[T]) -> Sequence[Entry[T]]:
        """Every object of a kind, by namespace and name."""
        found = self._by_model.get(model, {})
        return [cast(Entry[T], found[key]) for key in sorted(found)]

    def find(self, model: type[T], namespace: str, name: str) -> Entry[T] | None:
        """The object of this kind and name; a cluster-scoped one has no namespace."""
        return cast("Entry[T] | None", self._by_model.get(model, {}).get((namespace, name)))


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label of the selector is there; an empty selector selects all."""
    return selector.items() <= labels.items()
