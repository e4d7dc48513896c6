"""Pods that are outside the mesh without anybody having said so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Finding
from agent.api.kubernetes import Namespace, Pod
from agent.wire import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION, REDIRECTION_ENABLED

_INJECTION: Final = "istio-injection"
_REVISION: Final = "istio.io/rev"


def namespaces(corpus: Corpus) -> Iterator[Finding]:
    """IST0102: pods in a namespace that nobody enrolled; IST0123: labels that contradict each other."""
    for namespace in corpus.of(Namespace):
        labels = namespace.value.metadata.labels
        said = [label for label in (DATAPLANE_MODE_LABEL, _INJECTION, _REVISION) if label in labels]
        if not said and _has_pods_of_nobody(corpus, namespace.name) and not workloads.is_of_cluster(namespace.name):
            yield namespace.finding("IST0102", "metadata", name=namespace.name)
        injects = labels.get(_INJECTION) == "enabled"
        if injects and labels.get(DATAPLANE_MODE_LABEL) == workloads.AMBIENT:
            yield namespace.finding("IST0123", "metadata", "labels", _INJECTION, labels=f"{_INJECTION}, {said[0]}")
        elif injects and _REVISION in labels:
            yield namespace.finding("IST0123", "metadata", "labels", _INJECTION, labels=f"{_INJECTION}, {_REVISION}")


def pods(corpus: Corpus) -> Iterator[Finding]:
    """IST0103: a pod that runs and should be captured is not; WEFT0001: one that never can be."""
    for workload in workloads.workloads(corpus):
        mode = workload.labels.get(DATAPLANE_MODE_LABEL)
        wanted = workloads.is_ambient(corpus, workload.namespace) and mode != "none"
        if workload.spec.host_network and wanted:
            path = (*workload.spec_path, "hostNetwork")
            yield workload.entry.finding("WEFT0001", *path, namespace=workload.namespace)
    for pod in corpus.of(Pod):
        mine = workloads.of_pod(pod)
        is_captured = pod.value.metadata.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTION_ENABLED
        if pod.value.status.phase != "Running" or is_captured or workloads.has_sidecar(mine):
            continue
        if workloads.is_enrolled(corpus, mine):
            yield pod.finding("IST0103", "metadata", annotation=REDIRECTION_ANNOTATION)


def sidecars(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0020: a pod that is to be enrolled and has, or will have, a sidecar, so that it is not."""
    for workload in workloads.workloads(corpus):
        if not workloads.is_enrolled(corpus, workload) or workloads.is_gateway(workload):
            continue
        container = next(
            (number for number, each in enumerate(workload.spec.containers) if each.name == workloads.PROXY_CONTAINER),
            None,
        )
        if workload.labels.get(workloads.INJECT) == "true":
            path, told = (*workload.path, "labels", workloads.INJECT), f"label {workloads.INJECT}=true asks for one"
            yield workload.entry.finding("WEFT0020", *path, why=told)
        elif workloads.has_sidecar(workload):
            yield workload.entry.finding("WEFT0020", *workload.path, "annotations", why="its annotations say so")
        elif container is not None:
            path = (*workload.spec_path, "containers", container)
            yield workload.entry.finding("WEFT0020", *path, why=f"it has a container {workloads.PROXY_CONTAINER}")


def _has_pods_of_nobody(corpus: Corpus, namespace: str) -> bool:
    """Whether there are pods that could be enrolled, and say nothing themselves."""
    return any(
        not each.spec.host_network
        and DATAPLANE_MODE_LABEL not in each.labels
        and not workloads.has_own_proxy(corpus, each)
        for each in workloads.in_namespace(corpus, namespace)
    )
