"""The lab's wires: a fabric that joins the nodes, and each node's bridge with its pods.

    control ──┐
              ├── fabric (a bridge) ── NODE eth0 ── (routes) ── NODE pods (a bridge) ── pod eth0
    NODE    ──┘

Pods hold host addresses (/32, /128) and know nothing but the way to their node, and the ports
of the node's bridge are isolated from one another. So the node routes everything, also between
two of its own pods, and service addresses work from anywhere. Source addresses are never
rewritten. The wire between nodes is each node's eth0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import KernelError
from agent.lab import namespaces
from agent.lab.addresses import (
    CONTROL_ADDRESS,
    FABRIC_GATEWAY,
    FABRIC_V4,
    FABRIC_V6,
    NodePlan,
    Pair,
    hardware_address,
)
from agent.lab.layout import netns_path

WIRE = "eth0"
POD_BRIDGE = "pods"
_FABRIC_BRIDGE = "fabric"
_NODAD = 0x02  # IFA_F_NODAD: an address is usable at once
_ROUTER_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
}
# Bridged frames must not meet the node's rules before they are routed: br_netfilter, where it is
# loaded, would send a rewritten one straight to the other port, which isolation forbids.
_BRIDGE_SYSCTLS = {
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}
_SYSCTLS = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv6/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_redirects": "0",
}


def build_fabric(fabric: str, nodes: Iterable[NodePlan]) -> None:
    """Set up the fabric's namespace; it is the way to nowhere for what the lab does not know."""

    def work() -> None:
        _prepare(is_router=True)
        with IPRoute() as netlink:
            _up(netlink, "lo")
            netlink.link("add", ifname=_FABRIC_BRIDGE, kind="bridge")
            _address(netlink, _FABRIC_BRIDGE, FABRIC_GATEWAY, FABRIC_V4.prefixlen, FABRIC_V6.prefixlen)
            _up(netlink, _FABRIC_BRIDGE)
            for default in ("0.0.0.0/0", "::/0"):
                netlink.route("add", dst=default, type="unreachable")
        _route_to_nodes(nodes)  # the answers to those who ask for what is not there

    _inside(fabric, work)


def join_control(fabric: str, control: str, nodes: Iterable[NodePlan]) -> None:
    """Join the controller's namespace to the fabric."""
    _join(fabric, control, "control", CONTROL_ADDRESS)
    _inside(control, lambda: _route_to_nodes(nodes))


def is_free(netns: str) -> bool:
    """Whether a namespace that is not the lab's can join its fabric; NotFoundError without the namespace."""

    def look() -> bool:
        with IPRoute() as netlink:
            return not netlink.link_lookup(ifname=WIRE)

    return namespaces.inside(netns, look)


def leave(netns: str) -> None:
    """Take a namespace that is not the lab's off its fabric; nothing happens when it is not on it.

    NotFoundError without the namespace.
    """

    def work() -> None:
        with IPRoute() as netlink:
            for index in netlink.link_lookup(ifname=WIRE, kind="veth"):
                netlink.link("del", index=index)

    _inside(netns, work)


def join_node(fabric: str, netns: str, node: NodePlan, others: Iterable[NodePlan]) -> None:
    """Join a node to the fabric, and give it a bridge for its pods and routes to the others' pods."""
    _join(fabric, netns, node.name, node.address, is_router=True)

    def work() -> None:
        with IPRoute() as netlink:
            netlink.link("add", ifname=POD_BRIDGE, kind="bridge", address=hardware_address(node.gateway.v4))
            _address(netlink, POD_BRIDGE, node.gateway, node.pods_v4.prefixlen, node.pods_v6.prefixlen)
            _up(netlink, POD_BRIDGE)
        _route_to_nodes(others)

    _inside(netns, work)


def join_pod(node_netns: str, node: NodePlan, pod_netns: str, interface: str, address: Pair) -> None:
    """Give a pod its eth0 and join it to its node's bridge as `interface`."""
    _inside(pod_netns, lambda: _prepare(is_router=False))
    _inside(node_netns, lambda: _pair(interface, pod_netns, hardware_address(address.v4), POD_BRIDGE))

    def work() -> None:
        with IPRoute() as netlink:
            _up(netlink, "lo")
            _address(netlink, WIRE, address, 32, 128)
            _up(netlink, WIRE)
            eth0 = _index(netlink, WIRE)
            for gateway, all_bits in ((node.gateway.v4, "/32"), (node.gateway.v6, "/128")):
                netlink.route("add", dst=f"{gateway}{all_bits}", oif=eth0, scope=253 if all_bits == "/32" else 0)
                netlink.route("add", dst=_default(gateway), gateway=str(gateway), oif=eth0)

    _inside(pod_netns, work)


def _join(fabric: str, netns: str, port: str, address: Pair, *, is_router: bool = False) -> None:
    _inside(netns, lambda: _prepare(is_router=is_router))
    _inside(fabric, lambda: _pair(port, netns, hardware_address(address.v4), _FABRIC_BRIDGE))

    def work() -> None:
        with IPRoute() as netlink:
            _up(netlink, "lo")
            _address(netlink, WIRE, address, FABRIC_V4.prefixlen, FABRIC_V6.prefixlen)
            _up(netlink, WIRE)
            for gateway in (FABRIC_GATEWAY.v4, FABRIC_GATEWAY.v6):
                netlink.route("add", dst=_default(gateway), gateway=str(gateway))

    _inside(netns, work)


def _route_to_nodes(nodes: Iterable[NodePlan]) -> None:
    with IPRoute() as netlink:
        for node in nodes:
            netlink.route("add", dst=str(node.pods_v4), gateway=str(node.address.v4))
            netlink.route("add", dst=str(node.pods_v6), gateway=str(node.address.v6))


def _pair(port: str, netns: str, hardware: str, bridge: str) -> None:
    """A veth pair from a port of this namespace's bridge to WIRE of another namespace."""
    with open(netns_path(netns)) as target, IPRoute() as netlink:
        peer = {"ifname": WIRE, "net_ns_fd": target.fileno(), "address": hardware}
        netlink.link("add", ifname=port, kind="veth", peer=peer)
        index = _index(netlink, port)
        netlink.link("set", index=index, master=_index(netlink, bridge))
        if bridge == POD_BRIDGE:
            netlink.brport("set", index=index, isolated=1)
        netlink.link("set", index=index, state="up")


def _prepare(*, is_router: bool) -> None:
    for name, value in (_SYSCTLS | (_ROUTER_SYSCTLS if is_router else {})).items():
        # /proc/sys/net shows the network namespace of the thread that opens it.
        Path("/proc/sys", name).write_text(value)
    for name, value in _BRIDGE_SYSCTLS.items():
        if (sysctl := Path("/proc/sys", name)).exists():
            sysctl.write_text(value)


def _index(netlink: IPRoute, name: str) -> int:
    found: list[int] = netlink.link_lookup(ifname=name)
    return found[0]


def _up(netlink: IPRoute, name: str) -> None:
    netlink.link("set", index=_index(netlink, name), state="up")


def _address(netlink: IPRoute, name: str, address: Pair, v4_bits: int, v6_bits: int) -> None:
    index = _index(netlink, name)
    netlink.addr("add", index=index, address=str(address.v4), prefixlen=v4_bits)
    netlink.addr("add", index=index, address=str(address.v6), prefixlen=v6_bits, flags=_NODAD)


def _default(gateway: IPv4Address | IPv6Address) -> str:
    return "0.0.0.0/0" if gateway.version == 4 else "::/0"


def _inside(netns: str, work: Callable[[], None]) -> None:
    try:
        namespaces.inside(netns, work)
    except (NetlinkError, OSError) as exc:
        raise KernelError(f"network of {netns}: {exc}; are veth and bridge available in this kernel?") from exc
