"""The lab's address plan: which node, pod and service has which addresses. Rules only.

Every lab uses the same addresses: its namespaces are joined to nothing outside it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from agent.errors import UnavailableError

FABRIC_V4 = IPv4Network("10.70.0.0/24")
FABRIC_V6 = IPv6Network("fd70::/64")
PODS_V4 = IPv4Network("10.244.0.0/16")
PODS_V6 = IPv6Network("fd44:244::/48")
SERVICES_V4 = IPv4Network("10.96.0.0/16")
SERVICES_V6 = IPv6Network("fd96::/112")
DNS_SERVICE = SERVICES_V4[10]

MOST_NODES = 20
MOST_PODS = 250  # of a node, as kubelets of large nodes are set; Kubernetes' own default is 110
_GATEWAY_HOST = 1
_CONTROL_HOST = 2
_FIRST_NODE_HOST = 10
_FIRST_POD_HOST = 2
_FIRST_SERVICE_HOST = 16  # below: addresses with a fixed meaning, such as DNS_SERVICE


@dataclass(frozen=True, slots=True)
class Pair:
    """One address of each family."""

    v4: IPv4Address
    v6: IPv6Address

    @property
    def texts(self) -> tuple[str, str]:
        return str(self.v4), str(self.v6)


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node's own addresses, the range of its pods, and its address towards them."""

    name: str
    address: Pair
    pods_v4: IPv4Network
    pods_v6: IPv6Network

    @property
    def gateway(self) -> Pair:
        return Pair(self.pods_v4[_GATEWAY_HOST], self.pods_v6[_GATEWAY_HOST])


FABRIC_GATEWAY = Pair(FABRIC_V4[_GATEWAY_HOST], FABRIC_V6[_GATEWAY_HOST])
CONTROL_ADDRESS = Pair(FABRIC_V4[_CONTROL_HOST], FABRIC_V6[_CONTROL_HOST])


def node_plans(count: int) -> list[NodePlan]:
    """node-1 to node-COUNT, at most MOST_NODES."""
    subnets = range(1, count + 1)
    v4, v6 = list(PODS_V4.subnets(new_prefix=24)), PODS_V6.subnets(new_prefix=64)
    v6_nets = [net for _, net in zip(range(count + 1), v6, strict=False)]
    return [
        NodePlan(
            f"node-{i}",
            Pair(FABRIC_V4[_FIRST_NODE_HOST + i], FABRIC_V6[_FIRST_NODE_HOST + i]),
            v4[i],
            v6_nets[i],
        )
        for i in subnets
    ]


def free_pod_address(node: NodePlan, taken: Set[Pair], last: Pair | None) -> Pair:
    """The next free pair after the one given last, going round: an address rests as long as possible before reuse."""
    hosts = node.pods_v4.num_addresses - 1 - _FIRST_POD_HOST
    start = 0 if last is None else int(last.v4) - int(node.pods_v4.network_address) - _FIRST_POD_HOST + 1
    for step in range(hosts):
        host = _FIRST_POD_HOST + (start + step) % hosts
        pair = Pair(node.pods_v4[host], node.pods_v6[host])
        if pair not in taken:
            return pair
    raise UnavailableError(f"{node.name}: all {hosts} pod addresses are in use")


def free_service_address(taken: Set[str]) -> Pair:
    """The first free pair of service addresses."""
    for host in range(_FIRST_SERVICE_HOST, SERVICES_V4.num_addresses - 1):
        pair = Pair(SERVICES_V4[host], SERVICES_V6[host])
        if not taken & {*pair.texts}:
            return pair
    raise UnavailableError("all service addresses are in use")


def hardware_address(address: IPv4Address) -> str:
    """A MAC made from the address, so that no neighbour remembers an earlier owner's."""
    return "02:57:" + ":".join(f"{byte:02x}" for byte in address.packed)
