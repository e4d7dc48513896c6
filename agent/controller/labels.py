"""Who selects whom, found by labels: neither all selectors nor all that has labels is ever gone through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.controller.touched import Key

_Pair = tuple[str, str, str]  # namespace, key and value of a label


class Subject(Protocol):
    """What a selector can mean."""

    @property
    def namespace(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Bearer:
    """A subject that is no pod."""

    namespace: str
    labels: Mapping[str, str]


class Labelled:
    """Objects by their labels, each within its namespace."""

    def __init__(self) -> None:
        self._labels: dict[Key, Mapping[str, str]] = {}
        self._by_pair: dict[_Pair, set[Key]] = {}

    def put(self, key: Key, labels: Mapping[str, str]) -> None:
        """Know an object by these labels, and no longer by others."""
        if self._labels.get(key) == labels:
            return
        self.remove(key)
        self._labels[key] = labels
        for pair in labels.items():
            self._by_pair.setdefault((key[0], *pair), set()).add(key)

    def remove(self, key: Key) -> None:
        for pair in self._labels.pop(key, {}).items():
            _discard(self._by_pair, (key[0], *pair), key)

    def selected(self, namespace: str, selector: Mapping[str, str]) -> frozenset[Key]:
        """Those that have all labels of a selector; an empty one selects nothing."""
        if not selector:
            return frozenset()
        fewest = min((self._by_pair.get((namespace, *pair), set()) for pair in selector.items()), key=len)
        return frozenset(key for key in fewest if selector.items() <= self._labels[key].items())


class Selecting:
    """Objects by their selectors, each within its namespace."""

    def __init__(self) -> None:
        self._selectors: dict[Key, Mapping[str, str]] = {}
        self._by_pair: dict[_Pair, set[Key]] = {}  # in one place each: at the first label of its selector

    def put(self, key: Key, selector: Mapping[str, str]) -> None:
        """Know an object by this selector, and no longer by another; by none if it is empty."""
        self.remove(key)
        if selector:
            self._selectors[key] = selector
            self._by_pair.setdefault((key[0], *min(selector.items())), set()).add(key)

    def remove(self, key: Key) -> None:
        selector = self._selectors.pop(key, None)
        if selector:
            _discard(self._by_pair, (key[0], *min(selector.items())), key)

    def of(self, namespace: str, labels: Mapping[str, str]) -> list[Key]:
        """Those that select what has these labels, in order."""
        return sorted(
            key
            for pair in labels.items()
            for key in self._by_pair.get((namespace, *pair), ())
            if self._selectors[key].items() <= labels.items()
        )


def _discard(index: dict[_Pair, set[Key]], pair: _Pair, key: Key) -> None:
    index[pair].discard(key)
    if not index[pair]:
        del index[pair]
