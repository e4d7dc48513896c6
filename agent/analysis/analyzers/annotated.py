"""Annotations of the mesh: that there are such, on such objects, with such values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.known_annotations import ANNOTATIONS, LABELS, Annotation, wrong_with
from agent.analysis.workloads import Workload, workloads
from agent.api import registry
from agent.api.objects import NamedObject
from agent.documents import Step

_DOMAINS: Final = ("istio.io", "weft.io")
_INGRESS_CLASS: Final = "kubernetes.io/ingress.class"
_TOOLS: Final = ("install.operator.istio.io", "operator.istio.io", "internal.istio.io")  # programs' own notes
_INJECT: Final = "sidecar.istio.io/inject"


def known(corpus: Corpus) -> Iterator[Finding]:
    """IST0107: on another kind; IST0108: not known; IST0125: of another value; IST0135: given up."""
    for entry, kind, path, labels, given in _annotated(corpus):
        for name, value in given.items():
            if not _is_of_mesh(name):
                continue
            place, found = (*path, name), ANNOTATIONS.get(name)
            if found is None:
                hint = "; it is a label" if name in LABELS else ""
                yield entry.finding("IST0108", *place, name=name, hint=hint)
                continue
            if found.is_deprecated and not (name == _INJECT and _INJECT in labels):
                instead = f"; {found.instead}" if found.instead else ""
                yield entry.finding("IST0135", *place, name=name, instead=instead)
            if not found.suits(kind):
                yield entry.finding("IST0107", *place, name=name, kind=kind, kinds=", ".join(found.kinds))
            elif wrong := wrong_with(found, value):
                yield entry.finding("IST0125", *place, name=name, value=value, accepted=wrong)


def maturity(corpus: Corpus) -> Iterator[Finding]:
    """IST0136: of a feature that may still change."""
    for entry, _, path, _, given in _annotated(corpus):
        for name in given:
            found: Annotation | None = ANNOTATIONS.get(name)
            if found is not None and found.status == "Alpha" and not found.is_of_controllers:
                yield entry.finding("IST0136", *path, name, name=name)


def _annotated(
    corpus: Corpus,
) -> Iterator[tuple[Entry[NamedObject], str, tuple[Step, ...], Mapping[str, str], Mapping[str, str]]]:
    """Objects, their kind, and their labels and annotations with the path to these; a template is a Pod."""
    for model in {entry.model for entry in registry.entries()}:
        for entry in corpus.of(model):
            metadata = entry.value.metadata
            if metadata.annotations:
                path: tuple[Step, ...] = ("metadata", "annotations")
                yield entry, entry.key.kind, path, metadata.labels, metadata.annotations
    for each in workloads(corpus):
        if each.path != ("metadata",) and each.annotations:
            yield _owner(each), "Pod", (*each.path, "annotations"), each.labels, each.annotations


def _owner(workload: Workload) -> Entry[NamedObject]:
    return workload.entry


def _is_of_mesh(name: str) -> bool:
    domain = name.rpartition("/")[0]
    is_ours = any(domain == each or domain.endswith(f".{each}") for each in _DOMAINS)
    return name == _INGRESS_CLASS or (is_ours and domain not in _TOOLS)
