"""What one ServiceEntry asks for by itself: addresses, hosts, endpoints, and who is to see it. Pure rules."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

from agent import wire
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.workload_entry import WorkloadEntry, WorkloadTemplate
from agent.controller.entries.claims import Claim, Role
from agent.controller.entries.hosts import HostClaim, is_of_another, spelt
from agent.controller.labels import Bearer, Subject
from agent.controller.touched import Holder

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# From which addresses are given to hosts that have none: features.IPAutoallocateIPv4Prefix and IPv6Prefix of Istio.
ASSIGNABLE: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("240.240.0.0/16"),
    ipaddress.IPv6Network("2001:2::/48"),
)
_ASSIGNMENT_LABEL: Final = "networking.istio.io/enable-autoallocate-ip"
_TUNNEL_LABEL: Final = "networking.istio.io/tunnel"
_MAPPED: Final = 96  # bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2)
BY_NAME: Final = ("DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS")


class Export(enum.Enum):
    """Who is to see an entry."""

    ALL = "all"
    HOME = "home"  # its own namespace
    NOBODY = "nobody"


def holder_of(entry: ServiceEntry | WorkloadEntry) -> Holder:
    kind = "ServiceEntry" if isinstance(entry, ServiceEntry) else "WorkloadEntry"
    return Holder(kind, entry.metadata.namespace, entry.metadata.name)


def export(entry: ServiceEntry) -> Export:
    """What can be said of exportTo to proxies: they know all namespaces, and an entry's own, but no lists."""
    wanted, own = entry.spec.export_to, entry.metadata.namespace
    if not wanted or "*" in wanted:
        return Export.ALL
    return Export.HOME if "." in wanted or own in wanted else Export.NOBODY


def unseen(entry: ServiceEntry) -> list[str]:
    """The namespaces that are to see it and cannot be told."""
    if export(entry) is Export.ALL:
        return []
    return [each for each in entry.spec.export_to if each not in (".", "~", entry.metadata.namespace)]


def is_private(entry: ServiceEntry, host: str, root: str) -> bool:
    """Whether a host is for clients of its own namespace only.

    So is what can stand for much that nobody named: a wildcard, a block of addresses, a name without a dot, which
    clients of every namespace complete otherwise. The root namespace may give even these to all.
    """
    if export(entry) is not Export.ALL:
        return True
    if entry.metadata.namespace == root:
        return False
    return (
        "*" in host or "." not in spelt(host) or any(_network(each).num_addresses > 1 for each in entry.spec.addresses)
    )


def hosts(entry: ServiceEntry) -> list[str]:
    """Each once, as it is written."""
    return list({spelt(host): host for host in reversed(entry.spec.hosts)}.values())[::-1]


def host_claims(entry: ServiceEntry, root: str) -> Iterator[tuple[str, HostClaim]]:
    if export(entry) is Export.NOBODY:
        return
    for host in hosts(entry):
        if not is_of_another(host, entry.metadata.namespace):
            yield host, HostClaim(holder_of(entry), entry.age, is_private(entry, host, root))


def networks(entry: ServiceEntry) -> list[Network]:
    """The addresses that its author gave it, each once."""
    return list(dict.fromkeys(map(_network, entry.spec.addresses)))


def is_assignable(entry: ServiceEntry) -> bool:
    """Whether its hosts are given addresses: as Istio does, unless it has its own, or a label refuses them."""
    is_refused = entry.metadata.labels.get(_ASSIGNMENT_LABEL, "").lower() == "false"
    return entry.spec.resolution != "NONE" and not entry.spec.addresses and not is_refused


def assignable_hosts(entry: ServiceEntry) -> list[str]:
    """The hosts that are to have an address each: a wildcard only where names are looked up one by one."""
    if not is_assignable(entry) or export(entry) is Export.NOBODY:
        return []
    return [host for host in hosts(entry) if "*" not in host or entry.spec.resolution == "DYNAMIC_DNS"]


def assigned(entry: ServiceEntry) -> dict[str, list[str]]:
    """The addresses that its status gives to its hosts. One that is not ours to give counts for nothing there."""
    found: dict[str, list[str]] = {host: [] for host in assignable_hosts(entry)}
    for each in entry.status.addresses:
        address = canonical(each.value)
        if each.host in found and address is not None and is_ours(address) and address not in found[each.host]:
            found[each.host].append(address)
    return found


def is_ours(address: str) -> bool:
    """Whether it is from the ranges that addresses are given from."""
    ip = ipaddress.ip_address(address)
    return any(ip.version == block.version and ip in block for block in ASSIGNABLE)


def is_tunnelled(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Whether a workload says that it takes HBONE."""
    is_redirected = annotations.get(wire.REDIRECTION_ANNOTATION) == wire.REDIRECTION_ENABLED
    return is_redirected or takes_hbone_itself(labels)


def takes_hbone_itself(labels: Mapping[str, str]) -> bool:
    return "http" in labels.get(_TUNNEL_LABEL, "").split(",")


def labels_of(entry: WorkloadEntry) -> dict[str, str]:
    """Both kinds that it can have; those of the object count before those of its spec."""
    return {**entry.spec.labels, **entry.metadata.labels}


def subject_of(entry: ServiceEntry | WorkloadEntry) -> Subject:
    """What policies select it by."""
    labels = labels_of(entry) if isinstance(entry, WorkloadEntry) else entry.metadata.labels
    return Bearer(entry.metadata.namespace, labels)


def address_claims(entry: ServiceEntry, root: str) -> Iterator[tuple[str, Claim]]:
    """The single addresses that it wants, and those at which its endpoints are."""
    if export(entry) is Export.NOBODY:
        return
    private = all(is_private(entry, host, root) for host in entry.spec.hosts)
    holder = holder_of(entry)
    for network in networks(entry):
        if network.num_addresses == 1:
            yield str(network.network_address), Claim(holder, Role.VIRTUAL, entry.age, is_private=private)
    for addresses in assigned(entry).values():
        for address in addresses:
            yield address, Claim(holder, Role.VIRTUAL, entry.age, is_assigned=True, is_private=private)
    for endpoint in entry.spec.endpoints:
        if (at := place(endpoint)) is not None:
            yield at, endpoint_claim(entry)


def endpoint_claim(entry: ServiceEntry) -> Claim:
    """Of what is at the address of one of its endpoints.

    Of one outside the mesh nothing is known: it may be any number of machines'. One that others are not to see
    says nothing to them of its address either.
    """
    tunnelled = is_tunnelled(entry.metadata.labels, entry.metadata.annotations)
    role = Role.WORKLOAD if tunnelled and export(entry) is Export.ALL else Role.ENDPOINT
    return Claim(holder_of(entry), role, entry.age, is_tunnelled=tunnelled)


def workload_claims(entry: WorkloadEntry) -> Iterator[tuple[str, Claim]]:
    if (at := place(entry.spec)) is not None:
        yield at, workload_claim(entry)


def workload_claim(entry: WorkloadEntry) -> Claim:
    tunnelled = is_tunnelled(labels_of(entry), entry.metadata.annotations)
    return Claim(holder_of(entry), Role.WORKLOAD, entry.age, is_tunnelled=tunnelled)


def place(endpoint: WorkloadTemplate) -> str | None:
    """The address at which it is in this network; None for a name, a socket, or another network's address."""
    return None if endpoint.network else canonical(endpoint.address)


def canonical(address: str) -> str | None:
    """The one form of an address, in which an IPv4 address is not mapped into IPv6; None for what is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _network(text: str) -> Network:
    found = ipaddress.ip_network(text, strict=False)
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is None or found.prefixlen < _MAPPED:
        return found
    return ipaddress.IPv4Network((int(mapped), found.prefixlen - _MAPPED))


def network_of(address: str) -> Network:
    """The block of one address."""
    return ipaddress.ip_network(address)
