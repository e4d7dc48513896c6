"""Checks of ServiceEntry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.api.networking.service_entry import ServiceEntry, ServiceEntrySpec
from agent.api.validation import formats, protocols
from agent.api.validation.destinations import Path
from agent.api.validation.exports import of_export
from agent.api.validation.remarks import Remark, error, faulty, said, warning
from agent.api.validation.selectors import of_networking_selector
from agent.api.validation.workloads import of_endpoint

_AUTO_ALLOCATION_LABEL: Final = "networking.istio.io/enable-autoallocate-ip"
_WAYPOINT_LABEL: Final = "istio.io/use-waypoint"
_BY_NAME: Final = ("DNS", "DNS_ROUND_ROBIN")
_DYNAMIC_PROTOCOLS: Final = ("http", "http2", "grpc", "tls")  # those that carry the name of the host


def hosts_and_addresses(entry: ServiceEntry) -> Iterator[Remark]:
    spec = entry.spec
    yield from of_networking_selector(spec.workload_selector)
    yield from of_export(spec.export_to, entry.metadata.namespace, may_be_nobody=True)
    for number, host in enumerate(spec.hosts):
        yield from faulty(formats.host_or_wildcard(host), "spec", "hosts", number)
        if formats.is_partial_wildcard(host) and spec.resolution != "DYNAMIC_DNS":
            told = f"read {host!r}: a wildcard is for whole labels, such as *.example.com"
            yield warning(told, "spec", "hosts", number)
    for number, address in enumerate(spec.addresses):
        yield from faulty(formats.block(address), "spec", "addresses", number)


def ports(entry: ServiceEntry) -> Iterator[Remark]:
    spec = entry.spec
    needs_address = not spec.addresses and not _has_made_up_address(entry)
    for number, port in enumerate(spec.ports):
        path = ("spec", "ports", number)
        yield from faulty(formats.label_of_name(port.name), *path, "name")
        if port.protocol:
            yield from faulty(protocols.known(port.protocol), *path, "protocol")
        if needs_address and port.protocol.upper() in ("", "TCP"):
            told = "carries no host, so that nothing but spec.addresses tells the service, and there are none"
            yield warning(told, *path, code="IST0134")
    yield from _many_hosts(spec)


def resolution(entry: ServiceEntry) -> Iterator[Remark]:
    spec = entry.spec
    match spec.resolution:
        case "NONE":
            if spec.workload_selector is not None:
                yield warning("without effect with resolution NONE", "spec", "workloadSelector")
        case "STATIC":
            yield from _endpoints(spec, may_be_name=False)
        case "DYNAMIC_DNS":
            yield from _dynamic(spec, has_waypoint=_has_waypoint(entry))
        case _:
            yield from _hosts_to_resolve(spec)
            yield from _endpoints(spec, may_be_name=True)


def _has_made_up_address(entry: ServiceEntry) -> bool:
    is_refused = entry.metadata.labels.get(_AUTO_ALLOCATION_LABEL, "").lower() == "false"
    return entry.spec.resolution != "NONE" and not is_refused


def _has_waypoint(entry: ServiceEntry) -> bool:
    return entry.metadata.labels.get(_WAYPOINT_LABEL, "").lower() not in ("", "none")


def _endpoints(spec: ServiceEntrySpec, *, may_be_name: bool) -> Iterator[Remark]:
    names = {port.name for port in spec.ports}
    for number, endpoint in enumerate(spec.endpoints):
        path: Path = ("spec", "endpoints", number)
        if may_be_name and (not endpoint.address or endpoint.address.startswith(formats.UNIX)):
            told = said(endpoint.address, "an address, or a name of DNS with this resolution")
            yield error(told, *path, "address")
        else:
            yield from of_endpoint(endpoint, path, may_be_name=may_be_name)
        for name in endpoint.ports:
            if name not in names:
                accepted = f"the name of one of the service's ports: {', '.join(names) or 'there are none'}"
                yield error(said(name, accepted), *path, "ports", name)
        if endpoint.address.startswith(formats.UNIX) and len(spec.ports) != 1:
            yield error("a socket is accepted for a service of exactly one port", *path, "address")


def _hosts_to_resolve(spec: ServiceEntrySpec) -> Iterator[Remark]:
    for number, host in enumerate(spec.hosts):
        if not spec.endpoints and formats.host(host) and not formats.host_or_wildcard(host):
            accepted = f"a name that DNS can answer with resolution {spec.resolution}, or endpoints"
            yield error(said(host, accepted), "spec", "hosts", number)


def _dynamic(spec: ServiceEntrySpec, *, has_waypoint: bool) -> Iterator[Remark]:
    for number, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            yield error(said(host, "a wildcard with resolution DYNAMIC_DNS"), "spec", "hosts", number)
    for field, given in (("addresses", spec.addresses), ("endpoints", spec.endpoints)):
        if given:
            yield error("not accepted with resolution DYNAMIC_DNS, which asks DNS for each name", "spec", field)
    for number, port in enumerate(spec.ports):
        if port.protocol.lower() not in _DYNAMIC_PROTOCOLS:
            accepted = "HTTP, HTTP2, GRPC or TLS with resolution DYNAMIC_DNS"
            yield error(said(port.protocol, accepted), "spec", "ports", number, "protocol")
    if spec.location == "MESH_INTERNAL" and has_waypoint:
        told = said("MESH_INTERNAL", "MESH_EXTERNAL behind a waypoint with resolution DYNAMIC_DNS")
        yield error(told, "spec", "location")


def _many_hosts(spec: ServiceEntrySpec) -> Iterator[Remark]:
    """Plain TCP cannot tell hosts apart."""
    if len(spec.hosts) < 2:
        return
    for number, port in enumerate(spec.ports):
        path = ("spec", "ports", number, "protocol")
        if spec.resolution != "NONE" and not (protocols.is_http(port.protocol) or protocols.is_tls(port.protocol)):
            yield error(said(port.protocol, "a protocol of HTTP or TLS with more than one host"), *path)
        elif spec.resolution in _BY_NAME and spec.addresses and protocols.is_tcp(port.protocol):
            told = f"protocol {port.protocol} does not tell {len(spec.hosts)} hosts at one address apart"
            yield warning(told, *path)
