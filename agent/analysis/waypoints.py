"""Which waypoint each object is behind, by the labels that Istio has for it (istio.io/use-waypoint and its like)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Entry, view
from agent.api.gateway_api.gateway import Gateway, GatewayClass
from agent.api.kubernetes import Namespace, Service
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.workload_entry import WorkloadEntry
from agent.api.objects import NamedObject
from agent.documents import Step

USE: Final = "istio.io/use-waypoint"
USE_NAMESPACE: Final = "istio.io/use-waypoint-namespace"
CANARY: Final = "istio.io/use-waypoint-canary"
FOR: Final = "istio.io/waypoint-for"
BY_INGRESS: Final = "istio.io/ingress-use-waypoint"
_NOBODY: Final = "none"
_CLASSES: Final = ("istio-waypoint", "istio-agentgateway-waypoint")
_CONTROLLER: Final = "istio.io/mesh-controller"  # of a GatewayClass whose Gateways are waypoints

Traffic = Literal["service", "workload"]


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """An object that names a waypoint by its labels. traffic: None for a namespace, which means whatever there is."""

    entry: Entry[NamedObject]
    labels: Mapping[str, str]
    path: tuple[Step, ...]  # to the labels
    traffic: Traffic | None
    label: str = USE

    @property
    def namespace(self) -> str:
        """Where the object is; a namespace is in itself."""
        return self.entry.namespace or self.entry.name

    @property
    def waypoint(self) -> tuple[str, str]:
        """Namespace and name of the waypoint."""
        return self.labels.get(f"{self.label}-namespace") or self.namespace, self.labels[self.label]


@view
def uses(corpus: Corpus) -> tuple[Use, ...]:
    """Every label that names a waypoint."""
    return tuple(use for each in _labelled(corpus) for use in _of_labels(each))


def of_service(corpus: Corpus, entry: Entry[Service] | Entry[ServiceEntry]) -> tuple[str, str] | None:
    """Namespace and name of the waypoint that a service is to be behind, whether or not there is one."""
    labels = entry.value.metadata.labels
    if USE in labels:
        return _named(labels, entry.namespace)
    return _named(workloads.labels_of_namespace(corpus, entry.namespace), entry.namespace)


def waypoint_of(corpus: Corpus, entry: Entry[Service] | Entry[ServiceEntry]) -> Entry[Gateway] | None:
    """The waypoint that a service is behind; None if there is no such one, or it is not for services."""
    named = of_service(corpus, entry)
    found = corpus.find(Gateway, *named) if named else None
    return found if found and is_waypoint(corpus, found) and "service" in served(corpus, found) else None


def is_waypoint(corpus: Corpus, gateway: Entry[Gateway]) -> bool:
    """Whether its class makes it a waypoint."""
    name = gateway.value.spec.gateway_class_name
    found = corpus.find(GatewayClass, "", name)
    return name in _CLASSES or (found is not None and found.value.spec.controller_name == _CONTROLLER)


def served(corpus: Corpus, gateway: Entry[Gateway]) -> frozenset[Traffic]:
    """What the waypoint is for: by its own label, else that of its class, else services."""
    own = gateway.value.metadata.labels.get(FOR)
    of_class = corpus.find(GatewayClass, "", gateway.value.spec.gateway_class_name)
    said = own or (of_class.value.metadata.labels.get(FOR) if of_class else None) or "service"
    kinds: Mapping[str, frozenset[Traffic]] = {
        "service": frozenset({"service"}),
        "workload": frozenset({"workload"}),
        "all": frozenset({"service", "workload"}),
    }
    return kinds.get(said, frozenset())


def _named(labels: Mapping[str, str], namespace: str) -> tuple[str, str] | None:
    name = labels.get(USE, _NOBODY)
    return None if name in ("", _NOBODY) else (labels.get(USE_NAMESPACE) or namespace, name)


def _of_labels(each: Use) -> Iterator[Use]:
    for label in (USE, CANARY):
        if each.labels.get(label, _NOBODY) not in ("", _NOBODY):
            yield Use(each.entry, each.labels, each.path, each.traffic, label)


def _labelled(corpus: Corpus) -> Iterator[Use]:
    path = ("metadata", "labels")
    for namespace in corpus.of(Namespace):
        yield Use(namespace, namespace.value.metadata.labels, path, None)
    services: list[Entry[Service] | Entry[ServiceEntry]] = [*corpus.of(Service), *corpus.of(ServiceEntry)]
    for service in services:
        yield Use(service, service.value.metadata.labels, path, "service")
    for workload in workloads.workloads(corpus):
        yield Use(workload.entry, workload.labels, (*workload.path, "labels"), "workload")
    for entry in corpus.of(WorkloadEntry):
        yield Use(entry, entry.value.metadata.labels, path, "workload")
