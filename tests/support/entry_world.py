"""ServiceEntries, WorkloadEntries and what node proxies are told as they come and go."""

from __future__ import annotations

import itertools
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from agent import kube, wire
from agent.controller.addresses import Addresses
from agent.controller.cluster import ClusterState
from agent.controller.resources import Catalogue, Resource
from agent.controller.touched import Holder
from agent.proto import workload_pb2 as pb
from tests.support.objects import Object

_versions = itertools.count(1)
_KINDS = {
    kind.name: kind
    for kind in (
        kube.NAMESPACE,
        kube.NODE,
        kube.POD,
        kube.SERVICE,
        kube.ENDPOINT_SLICE,
        kube.AUTHORIZATION_POLICY,
        kube.PEER_AUTHENTICATION,
        kube.SERVICE_ENTRY,
        kube.WORKLOAD_ENTRY,
        kube.SYSTEM_CONFIG_MAP,
    )
}
OLD, NEW = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"
TUNNEL = {"networking.istio.io/tunnel": "http"}


def a_service_entry(
    name: str = "db",
    namespace: str = "shop",
    *hosts: str,
    created: str = OLD,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    status: Object | None = None,
    **spec: Any,
) -> Object:
    """For db.example.com, port 5432 of TCP, unless it says otherwise."""
    ports = [{"number": 5432, "name": "tcp-db", "protocol": "TCP"}]
    whole = {"hosts": list(hosts or ("db.example.com",)), "ports": ports, "resolution": "STATIC", **spec}
    return _entry("ServiceEntry", name, namespace, created, labels, annotations, status, whole)


def a_workload_entry(
    name: str = "vm-1",
    namespace: str = "shop",
    *,
    created: str = OLD,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    return _entry(
        "WorkloadEntry", name, namespace, created, labels, annotations, None, {"address": "192.0.2.9", **spec}
    )


def _entry(
    kind: str,
    name: str,
    namespace: str,
    created: str,
    labels: dict[str, str] | None,
    annotations: dict[str, str] | None,
    status: Object | None,
    spec: Object,
) -> Object:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{kind}-{namespace}-{name}",
        "resourceVersion": str(next(_versions)),
        "creationTimestamp": created,
        "labels": labels or {},
        "annotations": annotations or {},
    }
    found = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
    return found if status is None else {**found, "status": status}


class World:
    """What is published, as the cluster changes; `touched`: what really changed last."""

    def __init__(self, *given: Object) -> None:
        self.state = ClusterState("state")
        self.catalogue = Catalogue(wire.ADDRESS_TYPE)
        self.touched: set[str] = set()
        self.computed = 0  # resources that were made anew, whether or not they differ
        self.addresses = Addresses(self.state, self._publish, cluster="Kubernetes", trust_domain="cluster.local")
        self.state.apply(kube.Change(kube.ChangeType.SYNCED))
        self.put(*given)

    def put(self, *given: Object) -> None:
        self.touched, self.computed = set(), 0
        for each in given:
            change = kube.Change(kube.ChangeType.MODIFIED, _KINDS[each["kind"]], each)
            self.addresses.update(self.state.apply(change))
        assert self.state.problems == {}

    def delete(self, *given: Object) -> None:
        self.touched, self.computed = set(), 0
        for each in given:
            change = kube.Change(kube.ChangeType.DELETED, _KINDS[each["kind"]], each)
            self.addresses.update(self.state.apply(change))

    def service(self, name: str) -> pb.Service:
        return self._found(name).service

    def workload(self, name: str) -> pb.Workload:
        return self._found(name).workload

    def has(self, name: str) -> bool:
        return name in self.catalogue.resources

    def names(self) -> set[str]:
        return set(self.catalogue.resources)

    def lacks(self, kind: str, name: str, namespace: str = "shop") -> list[str]:
        return [each.text for each in self.addresses.shortfalls(Holder(kind, namespace, name))]

    def published(self) -> dict[str, bytes]:
        return {name: found.encoded for name, found in self.catalogue.resources.items()}

    def _found(self, name: str) -> pb.Address:
        encoded = self.catalogue.resources[name].encoded
        (one,) = discovery_pb2.DeltaDiscoveryResponse.FromString(encoded).resources
        return pb.Address.FromString(one.resource.value)

    def _publish(self, type_url: str, changed: list[Resource], removed: list[str]) -> None:
        assert type_url == wire.ADDRESS_TYPE
        self.computed += len(changed)
        self.touched |= set(self.catalogue.update(changed, removed))
