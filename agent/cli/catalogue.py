"""The workloads, services and policies that a node proxy knows, read from its /config_dump."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.cli import places
from agent.model import Identity

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod as the proxies know it. is_enrolled: peers tunnel to it."""

    uid: str
    name: places.PodName
    node: str
    addresses: tuple[str, ...]
    identity: str
    is_enrolled: bool
    is_healthy: bool
    is_host_network: bool
    policies: tuple[str, ...]

    def address_like(self, other: str) -> str | None:
        """Its first address of the other's family; the other may have a port."""
        is_v6 = other.count(":") > 1
        return next((each for each in self.addresses if (":" in each) == is_v6), None)


@dataclass(frozen=True, slots=True)
class Service:
    """A service. endpoints: by uid of the workload, its ports by the service's. is_local: only endpoints of the
    client's node are called."""

    namespace: str
    hostname: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    endpoints: Mapping[str, Mapping[int, int]]
    takes_unhealthy: bool
    is_local: bool


class Catalogue:
    """All that one proxy knows, found by name and by address."""

    def __init__(self, dump: Json) -> None:
        self._workloads = {found.uid: found for found in map(_workload, dump["workloads"])}
        self._services = {found.hostname: found for found in map(_service, dump["services"])}
        self._policies = dump["policies"]

    def pod(self, name: places.PodName) -> Workload | None:
        return next((found for found in self._workloads.values() if found.name == name), None)

    def workload(self, uid: str) -> Workload | None:
        return self._workloads.get(uid)

    def pod_at(self, address: str) -> Workload | None:
        return next((found for found in self._workloads.values() if address in found.addresses), None)

    def service(self, host: str, namespace: str) -> Service | None:
        """The service that a name, or an address, means to pods of the namespace."""
        if places.is_address(host):
            return next((found for found in self._services.values() if host in found.addresses), None)
        names = places.hostnames(host, namespace)
        return next((found for name in names if (found := self._services.get(name)) is not None), None)

    def names_in(self, namespace: str) -> list[str]:
        """The pods of a namespace."""
        return sorted(str(found.name) for found in self._workloads.values() if found.name.namespace == namespace)

    def allowing(self, workload: Workload) -> list[str]:
        """Names of the ALLOW policies that apply to a workload."""
        return sorted(name for name, policy in self._applying(workload) if policy.get("action") == "Allow")

    def _applying(self, workload: Workload) -> Iterator[tuple[str, Json]]:
        for policy in self._policies:
            name, scope = f"{policy['namespace']}/{policy['name']}", policy["scope"]
            is_here = scope == "Namespace" and policy["namespace"] == workload.name.namespace
            if (scope == "Global" or is_here or name in workload.policies) and not policy["dryRun"]:
                yield name, policy


def uids_served(dump: Json) -> dict[places.PodName, str]:
    """The pods that the proxy serves, and their UIDs."""
    return {places.PodName(pod["namespace"], pod["name"]): pod["uid"] for pod in dump["pods"]}


def _workload(found: Json) -> Workload:
    namespace = found["namespace"]
    return Workload(
        uid=found["uid"],
        name=places.PodName(namespace, found["name"]),
        node=found["node"],
        addresses=tuple(found["workloadIps"]),
        identity=str(Identity(namespace, found["serviceAccount"] or "default", found["trustDomain"])),
        is_enrolled=found["protocol"] == "HBONE",
        is_healthy=found["status"] == "Healthy",
        is_host_network=found["networkMode"] == "HostNetwork",
        policies=tuple(found["authorizationPolicies"]),
    )


def _service(found: Json) -> Service:
    addresses: Sequence[str] = [vip.partition("/")[2] for vip in found["vips"]]
    balancing = found["loadBalancer"]
    return Service(
        namespace=found["namespace"],
        hostname=found["hostname"],
        addresses=tuple(address for address in addresses if "/" not in address),
        ports=tuple(sorted(int(port) for port in found["ports"])),
        endpoints={
            uid: {int(port): target for port, target in each["port"].items()}
            for uid, each in found["endpoints"].items()
        },
        takes_unhealthy=balancing["healthPolicy"] == "AllowAll",
        is_local=balancing["mode"] == "Strict",
    )
