"""Rules of incremental discovery: what to ask for, what to answer, what we hold.

The ledger says, for each type, which resources the engine has in force and in which version.
A resource that the engine turns down does not enter it, so an earlier version stays in it:
after a reconnect the server then sees that ours is old and also learns what we must drop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2

from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

# Policies first: a workload must not come into force before the policies that it names.
TYPES = (AUTHORIZATION_TYPE, ADDRESS_TYPE)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it came: `value` is its protobuf, never encoded anew."""

    name: str
    version: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """One response. `mistakes` are resources that cannot even be handed on, with the reason."""

    type_url: str
    nonce: str
    changed: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    mistakes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """How this proxy names itself to the controller."""

    name: str
    namespace: str
    instance_ip: str
    node: str
    cluster: str
    version: str

    @property
    def id(self) -> str:
        # The suffix is fixed, whatever the cluster's domain is.
        return f"ztunnel~{self.instance_ip}~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"


class Ledger:
    """Which resources are in force, by type and name. Values are kept only if somebody will save them."""

    def __init__(self, *, keeps_values: bool) -> None:
        self._keeps_values = keeps_values
        self._held: dict[str, dict[str, Resource]] = {}

    @property
    def is_complete(self) -> bool:
        """Every type has had its first response."""
        return all(type_url in self._held for type_url in TYPES)

    def record(self, update: Update, rejected: Mapping[str, str]) -> None:
        """Enter what came into force; `rejected` names what did not."""
        held = self._held.setdefault(update.type_url, {})
        for name in update.removed:
            held.pop(name, None)
        for resource in update.changed:
            if resource.name not in rejected:
                value = resource.value if self._keeps_values else b""
                held[resource.name] = Resource(resource.name, resource.version, value)

    def versions(self, type_url: str) -> dict[str, str]:
        """What a reconnecting client tells the server that it has."""
        return {name: resource.version for name, resource in self._held.get(type_url, {}).items()}

    def resources(self, type_url: str) -> tuple[Resource, ...]:
        return tuple(self._held.get(type_url, {}).values())


def update(response: discovery_pb2.DeltaDiscoveryResponse) -> Update:
    """The response in our words."""
    fitting = [item for item in response.resources if item.resource.type_url == response.type_url]
    others = [item for item in response.resources if item.resource.type_url != response.type_url]
    return Update(
        type_url=response.type_url,
        nonce=response.nonce,
        changed=tuple(Resource(item.name, item.version, item.resource.value) for item in fitting),
        removed=tuple(response.removed_resources),
        mistakes=tuple((item.name, f"is of type {item.resource.type_url!r}") for item in others),
    )


def subscription(type_url: str, node: Node, versions: Mapping[str, str]) -> discovery_pb2.DeltaDiscoveryRequest:
    """Ask for every resource of a type: naming none is the wildcard."""
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, initial_resource_versions=versions)
    request.node.id = node.id
    request.node.metadata.update(
        {
            "NAME": node.name,
            "NAMESPACE": node.namespace,
            "INSTANCE_IPS": node.instance_ip,
            "NODE_NAME": node.node,
            "CLUSTER_ID": node.cluster,
            "WEFT_VERSION": node.version,
        }
    )
    return request


def answer(update: Update, rejected: Sequence[tuple[str, str]]) -> discovery_pb2.DeltaDiscoveryRequest:
    """ACK, or NACK when something was rejected; what was not rejected is in force either way."""
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=update.type_url, response_nonce=update.nonce)
    if rejected:
        request.error_detail.code = 3  # google.rpc.Code.INVALID_ARGUMENT
        request.error_detail.message = "; ".join(f"{name}: {reason}" for name, reason in rejected)
    return request
