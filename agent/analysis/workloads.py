"""The pods of a corpus: those that are written, and those that a template of pods stands for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.analysis.corpus import Corpus, Entry, view
from agent.analysis.templates import TEMPLATED, Templated, template_of
from agent.api.kubernetes import Deployment, Namespace, Pod, PodSpec, Service
from agent.api.networking.workload_entry import WorkloadEntry
from agent.documents import Step
from agent.wire import DATAPLANE_MODE_LABEL, SYSTEM_NAMESPACE

AMBIENT: Final = "ambient"
INJECT: Final = "sidecar.istio.io/inject"  # a label, and the older annotation
GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"  # a label of what a Gateway is made into
PROXY_CONTAINER: Final = "istio-proxy"
_TEMPLATES: Final = "inject.istio.io/templates"
_INJECTION: Final = "istio-injection"
_SIDECAR_STATUS: Final = "sidecar.istio.io/status"
_CLUSTERS_OWN: Final = ("kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE)


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A pod, or the pods of a template; `path` leads to the pod's metadata in the object."""

    entry: Entry[Pod] | Entry[Deployment] | Entry[Templated]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: PodSpec
    path: tuple[Step, ...]

    @property
    def namespace(self) -> str:
        return self.entry.namespace

    @property
    def spec_path(self) -> tuple[Step, ...]:
        return (*self.path[:-1], "spec")


@view
def workloads(corpus: Corpus) -> tuple[Workload, ...]:
    """All of them. A pod that a Deployment made stands for itself."""
    found = [of_pod(each) for each in corpus.of(Pod)]
    for each in corpus.of(Deployment):
        template = each.value.spec.template
        meta, path = template.metadata, ("spec", "template", "metadata")
        found.append(Workload(each, meta.labels, meta.annotations, template.spec, path))
    for model in TEMPLATED.values():
        for owner in corpus.of(model):
            template, place = template_of(owner.value)
            meta = template.metadata
            found.append(Workload(owner, meta.labels, meta.annotations, template.spec, (*place, "metadata")))
    return tuple(found)


def of_pod(pod: Entry[Pod]) -> Workload:
    """A pod that is written."""
    return Workload(pod, pod.value.metadata.labels, pod.value.metadata.annotations, pod.value.spec, ("metadata",))


@view
def _by_namespace(corpus: Corpus) -> Mapping[str, Sequence[Workload]]:
    found: dict[str, list[Workload]] = defaultdict(list)
    for each in workloads(corpus):
        found[each.namespace].append(each)
    return found


@view
def _by_label(corpus: Corpus) -> Mapping[tuple[str, str], Sequence[Workload]]:
    found: dict[tuple[str, str], list[Workload]] = defaultdict(list)
    for each in workloads(corpus):
        for label in each.labels.items():
            found[label].append(each)
    return found


@view
def _entries_by_label(corpus: Corpus) -> Mapping[tuple[str, str], Sequence[Entry[WorkloadEntry]]]:
    found: dict[tuple[str, str], list[Entry[WorkloadEntry]]] = defaultdict(list)
    for each in corpus.of(WorkloadEntry):
        for label in labels_of_entry(each).items():
            found[label].append(each)
    return found


@view
def _services_by_label(corpus: Corpus) -> Mapping[tuple[str, str, str], Sequence[Entry[Service]]]:
    """Each service under one label of its selector, which its pods must have."""
    found: dict[tuple[str, str, str], list[Entry[Service]]] = defaultdict(list)
    for each in corpus.of(Service):
        for key, value in sorted(each.value.spec.selector.items())[:1]:
            found[each.namespace, key, value].append(each)
    return found


def in_namespace(corpus: Corpus, namespace: str) -> Sequence[Workload]:
    return _by_namespace(corpus).get(namespace, ())


def selected(corpus: Corpus, namespace: str, selector: Mapping[str, str]) -> Sequence[Workload]:
    """The workloads with all these labels; of the root namespace's resources in every namespace."""
    is_of_mesh = namespace == SYSTEM_NAMESPACE
    if not selector:
        return workloads(corpus) if is_of_mesh else in_namespace(corpus, namespace)
    candidates = min((_by_label(corpus).get(label, ()) for label in selector.items()), key=len)
    return [
        each
        for each in candidates
        if (is_of_mesh or each.namespace == namespace) and selector.items() <= each.labels.items()
    ]


def entries(corpus: Corpus, namespace: str, selector: Mapping[str, str]) -> Sequence[Entry[WorkloadEntry]]:
    """The WorkloadEntries with all these labels, of which there is one at least; as `selected` otherwise."""
    candidates = min((_entries_by_label(corpus).get(label, ()) for label in selector.items()), key=len)
    return [
        each
        for each in candidates
        if namespace in (each.namespace, SYSTEM_NAMESPACE) and selector.items() <= labels_of_entry(each).items()
    ]


def labels_of_entry(entry: Entry[WorkloadEntry]) -> Mapping[str, str]:
    """Those of its metadata and of its spec."""
    return {**entry.value.metadata.labels, **entry.value.spec.labels}


def services_of(corpus: Corpus, workload: Workload) -> Iterator[Entry[Service]]:
    """The services of which the workload is an endpoint."""
    for key, value in workload.labels.items():
        for service in _services_by_label(corpus).get((workload.namespace, key, value), ()):
            if service.value.spec.selector.items() <= workload.labels.items():
                yield service


def behind(corpus: Corpus, service: Entry[Service]) -> Sequence[Workload]:
    """The endpoints of a service; none for one without a selector."""
    selector = service.value.spec.selector
    candidates = selected(corpus, service.namespace, selector) if selector else ()
    return [each for each in candidates if each.namespace == service.namespace]


def is_enrolled(corpus: Corpus, workload: Workload) -> bool:
    """By the label of the pod, else of its namespace; pods in the node's network never are."""
    inherited = labels_of_namespace(corpus, workload.namespace).get(DATAPLANE_MODE_LABEL)
    return not workload.spec.host_network and workload.labels.get(DATAPLANE_MODE_LABEL, inherited) == AMBIENT


def are_enrolled(corpus: Corpus, chosen: Sequence[Workload], namespace: str) -> bool:
    """Whether all of them are that can be; of none, whether those to come in the namespace will be."""
    able = [each for each in chosen if not each.spec.host_network]
    return all(is_enrolled(corpus, each) for each in able) if able else is_ambient(corpus, namespace)


def has_sidecar(workload: Workload) -> bool:
    """Whether a sidecar was injected, or is asked for, so that the node agent leaves the pod alone."""
    asked = workload.labels.get(INJECT, workload.annotations.get(INJECT))
    return asked == "true" or _SIDECAR_STATUS in workload.annotations


def is_gateway(workload: Workload) -> bool:
    """Whether the pod is a gateway's or a waypoint's, whose proxy is what it is for."""
    templates = workload.annotations.get(_TEMPLATES, "").split(",")
    return "gateway" in templates or GATEWAY_NAME in workload.labels


def has_own_proxy(corpus: Corpus, workload: Workload) -> bool:
    """Whether a proxy in the pod itself, of a gateway or a sidecar, enforces policies."""
    injects = labels_of_namespace(corpus, workload.namespace).get(_INJECTION) == "enabled"
    is_there = any(container.name == PROXY_CONTAINER for container in workload.spec.containers)
    return is_gateway(workload) or has_sidecar(workload) or injects or is_there


def labels_of_namespace(corpus: Corpus, namespace: str) -> Mapping[str, str]:
    """None for a namespace that is not among the objects."""
    found = corpus.find(Namespace, "", namespace)
    return found.value.metadata.labels if found else {}


def is_ambient(corpus: Corpus, namespace: str) -> bool:
    """Whether the namespace is enrolled as a whole."""
    return labels_of_namespace(corpus, namespace).get(DATAPLANE_MODE_LABEL) == AMBIENT


def is_of_cluster(namespace: str) -> bool:
    """Whether the namespace is the cluster's or the mesh's own, which nobody enrols."""
    return namespace in _CLUSTERS_OWN
