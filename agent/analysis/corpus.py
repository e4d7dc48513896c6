"""The objects to analyse, and what several analyzers ask of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from agent.analysis.messages import MESSAGES, Message
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.objects import NamedObject
from agent.documents import Lines, Step
from agent.manifests import Key

T = TypeVar("T", bound=NamedObject)
T_co = TypeVar("T_co", bound=NamedObject, covariant=True)
V = TypeVar("V")


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
class Entry(Generic[T_co]):
    """An object of the corpus, with where it comes from."""

    key: Key
    value: T_co
    file: str = ""
    lines: Lines = field(default_factory=lambda: Lines(0))

    @property
    def namespace(self) -> str:
        return self.key.namespace

    @property
    def name(self) -> str:
        return self.key.name

    def finding(self, code: str, *path: Step, **facts: object) -> Finding:
        """This object has what the message says, in the field that `path` leads to."""
        text = MESSAGES[code].text.format(**facts)
        return Finding(self.file, self.lines.find(path), code, self.key, text)


class Corpus:
    """All objects that are each valid, by kind, namespace and name.

    mesh: the settings of the mesh if somebody gave them beside the objects. unread: kinds of which
    nobody knows whether there are objects, so that nothing can be said to be missing.
    """

    def __init__(
        self,
        entries: Iterable[Entry[NamedObject]],
        mesh: MeshConfig | None = None,
        unread: Collection[type[NamedObject]] = (),
    ) -> None:
        self.mesh = mesh
        self._unread = frozenset(unread)
        self._by_model: dict[type[NamedObject], dict[tuple[str, str], Entry[NamedObject]]] = defaultdict(dict)
        for entry in entries:
            self._by_model[type(entry.value)][entry.key.namespace, entry.key.name] = entry
        self._sorted: dict[type[NamedObject], Sequence[Entry[NamedObject]]] = {}
        self.views: dict[object, object] = {}  # what `view` remembers

    def of(self, model: type[T]) -> Sequence[Entry[T]]:
        """Every object of a kind, by namespace and name."""
        if model not in self._sorted:
            found = self._by_model.get(model, {})
            self._sorted[model] = [found[key] for key in sorted(found)]
        return cast("Sequence[Entry[T]]", self._sorted[model])

    def find(self, model: type[T], namespace: str, name: str) -> Entry[T] | None:
        """The object of this kind and name; a cluster-scoped one has no namespace."""
        return cast("Entry[T] | None", self._by_model.get(model, {}).get((namespace, name)))

    def lacks(self, model: type[NamedObject], namespace: str, name: str) -> bool:
        """Whether it is certain that there is no such object."""
        return model not in self._unread and self.find(model, namespace, name) is None


def view(build: Callable[[Corpus], V]) -> Callable[[Corpus], V]:
    """Makes a function of a corpus remember what it has built, with that corpus."""

    def remembered(corpus: Corpus) -> V:
        if build not in corpus.views:
            corpus.views[build] = build(corpus)
        return cast(V, corpus.views[build])

    remembered.__doc__ = build.__doc__
    return remembered


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label of the selector is there; an empty selector selects all."""
    return selector.items() <= labels.items()


def told(labels: Mapping[str, str]) -> str:
    """Labels as people write them."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
