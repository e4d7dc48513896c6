"""Which namespaces are part of the mesh: those that the mesh's discoverySelectors choose, all without any.

A namespace that is no longer chosen stays until the last of its pods that are redirected has been withdrawn by its node
agent, which reads the selectors too: a proxy refuses connections of a pod that discovery does not know, so what is
known of it must not go first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

Key = tuple[str, str]  # namespace and name
Labels = Mapping[str, str]


class Selector(Protocol):
    """What some labels match; as agent.api.label_selector.LabelSelector."""

    def matches(self, labels: Labels) -> bool: ...


class Membership:
    """Every change returns the namespaces that joined or left by it.

    redirected: the pods of a namespace that are redirected now.
    """

    def __init__(self, redirected: Callable[[str], Collection[Key]]) -> None:
        self._redirected = redirected
        self._selectors: tuple[Selector, ...] = ()
        self._labels: dict[str, Labels] = {}
        self._leaving: dict[str, set[Key]] = {}  # pods that a namespace still waits for

    def has(self, namespace: str) -> bool:
        """Whether it is part of the mesh; with selectors, a namespace that is not known yet is not."""
        return self._is_chosen(namespace) or namespace in self._leaving

    def label(self, namespace: str, labels: Labels | None) -> frozenset[str]:
        """The namespace has these labels, None: it is gone."""

        def act() -> None:
            if labels is None:
                self._labels.pop(namespace, None)
            else:
                self._labels[namespace] = labels

        return self._change([namespace], act)

    def select(self, selectors: tuple[Selector, ...], namespaces: Iterable[str]) -> frozenset[str]:
        """These selectors hold from now on; `namespaces`: all in which anything is."""

        def act() -> None:
            self._selectors = selectors

        return self._change({*namespaces, *self._labels}, act)

    def withdrawn(self, pod: Key) -> frozenset[str]:
        """The pod is not redirected, or is gone."""
        waiting = self._leaving.get(pod[0], set())
        waiting.discard(pod)
        if waiting or pod[0] not in self._leaving:
            return frozenset()
        del self._leaving[pod[0]]
        return frozenset({pod[0]})

    def _is_chosen(self, namespace: str) -> bool:
        labels = self._labels.get(namespace)
        return not self._selectors or (labels is not None and any(each.matches(labels) for each in self._selectors))

    def _change(self, namespaces: Collection[str], act: Callable[[], None]) -> frozenset[str]:
        before = {namespace for namespace in namespaces if self.has(namespace)}
        act()
        for namespace in namespaces:
            if self._is_chosen(namespace):
                self._leaving.pop(namespace, None)
            elif namespace in before and (waiting := set(self._redirected(namespace))):
                self._leaving[namespace] = waiting
        return frozenset(each for each in namespaces if self.has(each) != (each in before))
