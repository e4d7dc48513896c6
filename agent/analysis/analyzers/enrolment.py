"""Pods that are outside the mesh without anybody having said so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Finding
from agent.api.kubernetes import Namespace, Pod
from agent.wire import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION

_INJECTION: Final = "istio-injection"
_REVISION: Final = "istio.io/rev"


def namespaces(corpus: Corpus) -> Iterator[Finding]:
    """IST0102: pods in a namespace that nobody enrolled; IST0123: labels that contradict each other."""
    for namespace in corpus.of(Namespace):
        labels = namespace.value.metadata.labels
        has_pods = any(not each.spec.host_network for each in workloads.in_namespace(corpus, namespace.key.name))
        said = [label for label in (DATAPLANE_MODE_LABEL, _INJECTION, _REVISION) if label in labels]
        if not said and has_pods and not workloads.is_of_cluster(namespace.key.name):
            yield namespace.finding("IST0102", "metadata", name=namespace.key.name)
        injects = labels.get(_INJECTION) == "enabled"
        if injects and labels.get(DATAPLANE_MODE_LABEL) == workloads.AMBIENT:
            yield namespace.finding("IST0123", "metadata", "labels", _INJECTION, labels=f"{_INJECTION}, {said[0]}")
        elif injects and _REVISION in labels:
            yield namespace.finding("IST0123", "metadata", "labels", _INJECTION, labels=f"{_INJECTION}, {_REVISION}")


def pods(corpus: Corpus) -> Iterator[Finding]:
    """IST0103: a pod that runs and should be captured is not; WEFT0001: one that never can be."""
    for workload in workloads.workloads(corpus):
        namespace = corpus.find(Namespace, "", workload.namespace)
        wanted = namespace and namespace.value.metadata.labels.get(DATAPLANE_MODE_LABEL) == workloads.AMBIENT
        if workload.spec.host_network and wanted:
            yield workload.entry.finding(
                "WEFT0001", *workload.path[:-1], "spec", "hostNetwork", namespace=workload.namespace
            )
    for pod in corpus.of(Pod):
        is_captured = pod.value.metadata.annotations.get(REDIRECTION_ANNOTATION) == "enabled"
        mine = workloads.Workload(pod, pod.value.metadata.labels, pod.value.spec, ("metadata",))
        if pod.value.status.phase == "Running" and not is_captured and workloads.is_enrolled(corpus, mine):
            yield pod.finding("IST0103", "metadata", annotation=REDIRECTION_ANNOTATION)
