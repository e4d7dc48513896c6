"""The pods of a corpus: those that are written, and those that a Deployment's template stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from agent.analysis.corpus import Corpus, Entry
from agent.api.kubernetes import Deployment, Namespace, Pod, PodSpec, Service
from agent.documents import Step
from agent.wire import DATAPLANE_MODE_LABEL, SYSTEM_NAMESPACE

AMBIENT: Final = "ambient"
_CLUSTERS_OWN: Final = ("kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE)


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, or the pods of a Deployment; `path` leads to the pod's metadata in the object."""

    entry: Entry[Pod] | Entry[Deployment]
    labels: Mapping[str, str]
    spec: PodSpec
    path: tuple[Step, ...]

    @property
    def namespace(self) -> str:
        return self.entry.namespace


@lru_cache(maxsize=1)
def workloads(corpus: Corpus) -> tuple[Workload, ...]:
    """All of them. A pod that a Deployment made stands for itself."""
    pods = [Workload(each, each.value.metadata.labels, each.value.spec, ("metadata",)) for each in corpus.of(Pod)]
    templates = [
        Workload(each, each.value.spec.template.metadata.labels, each.value.spec.template.spec, _TEMPLATE)
        for each in corpus.of(Deployment)
    ]
    return (*pods, *templates)


_TEMPLATE: Final = ("spec", "template", "metadata")


def in_namespace(corpus: Corpus, namespace: str) -> Iterator[Workload]:
    return (each for each in workloads(corpus) if each.namespace == namespace)


def selected(corpus: Corpus, namespace: str, selector: Mapping[str, str]) -> Iterator[Workload]:
    """The workloads with all these labels; of the root namespace's resources in every namespace."""
    return (
        each
        for each in workloads(corpus)
        if (each.namespace == namespace or namespace == SYSTEM_NAMESPACE) and selector.items() <= each.labels.items()
    )


def served_by(service: Entry[Service], workload: Workload) -> bool:
    """Whether the workload is one of the service's endpoints."""
    selector = service.value.spec.selector
    return bool(selector) and workload.namespace == service.namespace and selector.items() <= workload.labels.items()


def is_enrolled(corpus: Corpus, workload: Workload) -> bool:
    """By the label of the pod, else of its namespace; pods in the node's network never are."""
    namespace = corpus.find(Namespace, "", workload.namespace)
    inherited = namespace.value.metadata.labels.get(DATAPLANE_MODE_LABEL) if namespace else None
    return not workload.spec.host_network and workload.labels.get(DATAPLANE_MODE_LABEL, inherited) == AMBIENT


def is_of_cluster(namespace: str) -> bool:
    """Whether the namespace is the cluster's or the mesh's own, which nobody enrols."""
    return namespace in _CLUSTERS_OWN
