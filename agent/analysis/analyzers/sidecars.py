"""Sidecar resources, which nothing in an ambient mesh reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.api.networking.sidecar import Sidecar

_ENROLLED: Final = "the pods that it is for are enrolled and have no sidecar"


def conflicts(corpus: Corpus) -> Iterator[Finding]:
    """IST0110, IST0111: several for the same pods; IST0167: one for enrolled pods."""
    by_namespace: dict[str, list[Entry[Sidecar]]] = defaultdict(list)
    by_workload: dict[object, list[Entry[Sidecar]]] = defaultdict(list)
    for entry in corpus.of(Sidecar):
        selector = entry.value.spec.workload_selector
        labels = selector.labels if selector else {}
        chosen = [
            each for each in workloads.selected(corpus, entry.namespace, labels) if each.namespace == entry.namespace
        ]
        are_enrolled = workloads.are_enrolled(corpus, chosen, entry.namespace)
        if are_enrolled:
            yield entry.finding("IST0167", "spec", why=_ENROLLED)
        elif not labels:
            by_namespace[entry.namespace].append(entry)
        for each in chosen if labels and not are_enrolled else ():
            by_workload[each].append(entry)
    yield from {finding for found in by_workload.values() for finding in _several("IST0110", found)}
    for found in by_namespace.values():
        yield from _several("IST0111", found)


def _several(code: str, found: list[Entry[Sidecar]]) -> Iterator[Finding]:
    names = ", ".join(sorted(each.value.full_name for each in found))
    for entry in found if len(found) > 1 else ():
        yield entry.finding(code, "metadata", "name", names=names)
