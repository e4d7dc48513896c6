"""Checks of VirtualService."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agent.api.networking.http_route import HttpRoute
from agent.api.networking.matches import L4Match, TlsMatch
from agent.api.networking.virtual_service import StreamDestination, VirtualService, VirtualServiceSpec
from agent.api.validation import formats, http_policies
from agent.api.validation.destinations import MESH, Path, of_destination, of_gateways, of_labels, of_weights
from agent.api.validation.exports import of_export
from agent.api.validation.http_matches import claims, of_match
from agent.api.validation.remarks import Remark, error, faulty, said, warning

_PASSED_THROUGH: Final = re.compile(r"outbound_\.[0-9]+_\.[^_]*_\.[A-Za-z][-.A-Za-z0-9]*")


def hosts_and_gateways(service: VirtualService) -> Iterator[Remark]:
    """Names that can be routed, each once, for the mesh or for gateways."""
    spec = service.spec
    if not (spec.http or spec.tls or spec.tcp):
        yield error("no routes; accepted is one or more of http, tls, tcp", "spec")
    yield from of_gateways(spec.gateways, ("spec", "gateways"))
    yield from of_export(spec.export_to, service.metadata.namespace)
    if not spec.hosts:
        for field in ("gateways", "tls", "tcp"):
            if getattr(spec, field):
                yield error("not accepted without hosts, which means that others delegate to it", "spec", field)
    for number, host in enumerate(spec.hosts):
        wrong = list(_host(host, spec, number))
        yield from wrong
        for other in spec.hosts[:number]:
            if not wrong and formats.overlaps(other, host):
                yield error(f"read {host!r}, which {other!r} covers or is covered by", "spec", "hosts", number)


def http_routes(service: VirtualService) -> Iterator[Remark]:
    for number, route in enumerate(service.spec.http):
        yield from _http(route, ("spec", "http", number), is_delegated_to=not service.spec.hosts)
        if not _is_for_gateways_only(service.spec):
            for position, match in enumerate(route.match):
                for field, header in claims(match):
                    told = "a claim of a token; accepted in a VirtualService of gateways only"
                    yield error(told, "spec", "http", number, "match", position, field, header)


def tls_routes(service: VirtualService) -> Iterator[Remark]:
    for number, route in enumerate(service.spec.tls):
        path = ("spec", "tls", number)
        if not route.match:
            yield error("missing; accepted is at least one match with sniHosts", *path, "match")
        for position, match in enumerate(route.match):
            yield from _tls_match(match, service.spec, (*path, "match", position))
        yield from _stream_destinations(route.route, path)


def tcp_routes(service: VirtualService) -> Iterator[Remark]:
    for number, route in enumerate(service.spec.tcp):
        path = ("spec", "tcp", number)
        for position, match in enumerate(route.match):
            yield from _connection(match, (*path, "match", position))
        yield from _stream_destinations(route.route, path)


def _host(host: str, spec: VirtualServiceSpec, number: int) -> Iterator[Remark]:
    path = ("spec", "hosts", number)
    if formats.is_address(host):
        return
    if not _is_passed_through(host, spec):
        yield from faulty(formats.host_or_wildcard(host), *path)
    if host == "*" and not _is_for_gateways_only(spec):
        yield error("read '*'; accepted in a VirtualService of gateways only", *path)


def _is_for_gateways_only(spec: VirtualServiceSpec) -> bool:
    return bool(spec.gateways) and MESH not in spec.gateways


def _is_passed_through(host: str, spec: VirtualServiceSpec) -> bool:
    """Whether it is a server name as another network's gateway gets it: outbound_.PORT_.SUBSET_.HOST."""
    names_servers = any(match.sni_hosts for route in spec.tls for match in route.match)
    return _is_for_gateways_only(spec) and names_servers and _PASSED_THROUGH.fullmatch(host) is not None


def _http(route: HttpRoute, path: Path, *, is_delegated_to: bool) -> Iterator[Remark]:
    yield from _one_outcome(route, path, is_delegated_to=is_delegated_to)
    for number, match in enumerate(route.match):
        yield from of_match(match, (*path, "match", number))
    yield from http_policies.of_duration(route.timeout, (*path, "timeout"))
    yield from http_policies.of_headers(route.headers, (*path, "headers"))
    yield from http_policies.of_authority(route.rewrite, route.headers, path)
    for number, destination in enumerate(route.route):
        place = (*path, "route", number)
        yield from of_destination(destination.destination, (*place, "destination"))
        yield from http_policies.of_headers(destination.headers, (*place, "headers"))
    yield from of_weights(route.route, (*path, "route"))
    yield from _mirrors(route, path)
    yield from _policies(route, path)


def _policies(route: HttpRoute, path: Path) -> Iterator[Remark]:
    if route.cors_policy is not None:
        yield from http_policies.of_cors(route.cors_policy, (*path, "corsPolicy"))
    if route.fault is not None:
        yield from http_policies.of_fault(route.fault, (*path, "fault"))
    if route.retries is not None:
        yield from http_policies.of_retries(route.retries, (*path, "retries"))
    if route.redirect is not None:
        yield from http_policies.of_redirect(route.redirect, route.match, (*path, "redirect"))
    if route.direct_response is not None:
        yield from http_policies.of_direct_response(route.direct_response, (*path, "directResponse"))
    if route.rewrite is not None:
        yield from http_policies.of_rewrite(route.rewrite, (*path, "rewrite"))


def _one_outcome(route: HttpRoute, path: Path, *, is_delegated_to: bool) -> Iterator[Remark]:
    """A request is routed, redirected, answered or delegated, and one of them must be said."""
    names = {"route": "route", "redirect": "redirect", "direct_response": "directResponse", "delegate": "delegate"}
    given = [name for attribute, name in names.items() if getattr(route, attribute)]
    if len(given) != 1:
        accepted = f"accepted is exactly one of {', '.join(names.values())}"
        yield error(f"read {' and '.join(given) or 'none'}; {accepted}", *path)
    if route.delegate is not None and is_delegated_to:
        yield error("not accepted in a VirtualService that is delegated to itself", *path, "delegate")
    if route.redirect is not None or route.direct_response is not None:
        for field in ("fault", "rewrite"):
            if getattr(route, field) is not None:
                yield error(f"not accepted beside {given[0]}", *path, field)


def _mirrors(route: HttpRoute, path: Path) -> Iterator[Remark]:
    if route.mirror and route.mirrors:
        yield error("accepted is one of mirror and mirrors", *path)
    if route.mirror:
        yield from of_destination(route.mirror, (*path, "mirror"))
    for number, mirror in enumerate(route.mirrors):
        yield from of_destination(mirror.destination, (*path, "mirrors", number, "destination"))
    if route.mirror_percent is not None:
        yield warning("deprecated: write mirrorPercentage", *path, "mirrorPercent", code="IST0002")
        if route.mirror_percent > 100:
            yield error(said(route.mirror_percent, "a number from 0 to 100"), *path, "mirrorPercent")


def _stream_destinations(routes: Sequence[StreamDestination], path: Path) -> Iterator[Remark]:
    if not routes:
        yield error("missing; accepted is at least one destination", *path, "route")
    for number, route in enumerate(routes):
        yield from of_destination(route.destination, (*path, "route", number, "destination"))
    yield from of_weights(routes, (*path, "route"))


def _tls_match(match: TlsMatch, spec: VirtualServiceSpec, path: Path) -> Iterator[Remark]:
    if not match.sni_hosts:
        yield error("missing; accepted is at least one server name", *path, "sniHosts")
    for number, host in enumerate(match.sni_hosts):
        place = (*path, "sniHosts", number)
        if formats.is_address(host):
            yield warning(f"read {host!r}: clients send names, not addresses (RFC 6066, section 3)", *place)
        elif formats.host_or_wildcard(host) and not _is_passed_through(host, spec):
            yield from faulty(formats.host_or_wildcard(host), *place)
        elif not any(formats.covers(other, host) for other in spec.hosts):
            yield error(said(host, f"a name within the hosts {', '.join(spec.hosts)}"), *place)
    yield from _connection(match, path)


def _connection(match: L4Match | TlsMatch, path: Path) -> Iterator[Remark]:
    for number, subnet in enumerate(match.destination_subnets):
        yield from faulty(formats.block(subnet), *path, "destinationSubnets", number)
    yield from of_gateways(match.gateways, (*path, "gateways"))
    yield from of_labels(match.source_labels, (*path, "sourceLabels"))
    if match.source_namespace:
        yield from faulty(formats.name_of_label(match.source_namespace), *path, "sourceNamespace")
