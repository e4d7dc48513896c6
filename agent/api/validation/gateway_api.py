"""Checks of the Gateway API's kinds: what will be ignored, or answered with an error.

All are warnings. An API server stores such an object, and what is wrong with it becomes a
condition of its status: to refuse it here would leave an older version in force and its author
without that condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from agent.api.gateway_api.gateway import Gateway, ListenerSet
from agent.api.gateway_api.grpc_route import GRPCRoute, GrpcRule
from agent.api.gateway_api.http_route import HTTPRoute, HttpRule
from agent.api.gateway_api.listeners import Listener
from agent.api.gateway_api.references import WeightedBackend
from agent.api.gateway_api.routes import Route, RouteSpec
from agent.api.gateway_api.stream_routes import TCPRoute, TLSRoute
from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, said, warning
from agent.wire import HBONE_PORT

_REGEX: Final = "RegularExpression"
_WAYPOINT_CLASS: Final = "istio-waypoint"
_IGNORED_RULE: Final = "; the rule takes no effect"


def listeners(found: Gateway | ListenerSet) -> Iterator[Remark]:
    for number, listener in enumerate(found.spec.listeners):
        yield from _listener(listener, ("spec", "listeners", number))


def waypoint(gateway: Gateway) -> Iterator[Remark]:
    """A waypoint is reached in one way."""
    if gateway.spec.gateway_class_name != _WAYPOINT_CLASS:
        return
    ways = [(listener.protocol, listener.port) for listener in gateway.spec.listeners]
    if ways != [("HBONE", HBONE_PORT)]:
        read = ", ".join(f"{protocol} {port}" for protocol, port in ways)
        told = f"read {read}; a waypoint has one listener, of protocol HBONE on port {HBONE_PORT}"
        yield warning(told, "spec", "listeners")


def http_rules(route: HTTPRoute) -> Iterator[Remark]:
    yield from _parents_and_hosts(route, route.spec.hostnames)
    for number, rule in enumerate(route.spec.rules):
        path = ("spec", "rules", number)
        yield from _http_matches(rule, path)
        answers = any(filter.request_redirect is not None for filter in rule.filters)
        if not answers:
            yield from _backends(rule.backend_refs, (*path, "backendRefs"), "with status 500")
    yield from _repeated(route.spec.rules)


def grpc_rules(route: GRPCRoute) -> Iterator[Remark]:
    yield from _parents_and_hosts(route, route.spec.hostnames)
    for number, rule in enumerate(route.spec.rules):
        path = ("spec", "rules", number)
        yield from _grpc_matches(rule, path)
        yield from _backends(rule.backend_refs, (*path, "backendRefs"), "with UNAVAILABLE")
    yield from _repeated(route.spec.rules)


def stream_rules(route: TCPRoute | TLSRoute) -> Iterator[Remark]:
    yield from _parents_and_hosts(route, route.spec.hostnames if isinstance(route, TLSRoute) else ())
    for number, rule in enumerate(route.spec.rules):
        yield from _backends(rule.backend_refs, ("spec", "rules", number, "backendRefs"), "by closing it")


def _listener(listener: Listener, path: Path) -> Iterator[Remark]:
    if listener.protocol == "HTTPS" and listener.tls is None:
        yield warning("missing; protocol HTTPS needs it, and the listener is not opened", *path, "tls")
    if listener.protocol == "UDP":
        yield warning(said("UDP", "HTTP, HTTPS, TLS or TCP; the listener is not opened"), *path, "protocol")
    if listener.tls is not None and listener.tls.mode == "Passthrough" and listener.tls.certificate_refs:
        yield warning("without effect with mode Passthrough", *path, "tls", "certificateRefs")
    if formats.is_address(listener.hostname):
        yield warning(said(listener.hostname, "a name, not an address"), *path, "hostname")
    namespaces = listener.allowed_routes.namespaces
    place = (*path, "allowedRoutes", "namespaces")
    if namespaces.from_ == "Selector" and namespaces.selector is None:
        yield warning("missing; with from Selector it is required, and no route may attach", *place, "selector")
    if namespaces.from_ != "Selector" and namespaces.selector is not None:
        yield warning(f"without effect with from {namespaces.from_}", *place, "selector")


def _parents_and_hosts(route: Route, hostnames: Sequence[str]) -> Iterator[Remark]:
    spec = getattr(route, "spec", None)
    if isinstance(spec, RouteSpec) and not spec.parent_refs and spec.use_default_gateways in (None, "None"):
        yield warning("missing; the route belongs to nothing and takes no effect", "spec", "parentRefs")
    for number, host in enumerate(hostnames):
        if formats.is_address(host):
            yield warning(said(host, "a name, not an address"), "spec", "hostnames", number)


def _http_matches(rule: HttpRule, path: Path) -> Iterator[Remark]:
    for number, match in enumerate(rule.matches):
        place = (*path, "matches", number)
        if match.path.type == _REGEX:
            yield from _regex(match.path.value, (*place, "path", "value"))
        for position, header in enumerate(match.headers):
            if header.type == _REGEX:
                yield from _regex(header.value, (*place, "headers", position, "value"))
        for position, parameter in enumerate(match.query_params):
            if parameter.type == _REGEX:
                yield from _regex(parameter.value, (*place, "queryParams", position, "value"))
        yield from _same_header([header.name for header in match.headers], (*place, "headers"))


def _grpc_matches(rule: GrpcRule, path: Path) -> Iterator[Remark]:
    for number, match in enumerate(rule.matches):
        place = (*path, "matches", number)
        if match.method is not None and match.method.type == _REGEX:
            for field, value in (("service", match.method.service), ("method", match.method.method)):
                if value:
                    yield from _regex(value, (*place, "method", field))
        for position, header in enumerate(match.headers):
            if header.type == _REGEX:
                yield from _regex(header.value, (*place, "headers", position, "value"))
        yield from _same_header([header.name for header in match.headers], (*place, "headers"))


def _regex(value: str, path: Path) -> Iterator[Remark]:
    told = formats.regex(value)
    if told is not None:
        yield warning(told + _IGNORED_RULE, *path)


def _same_header(names: Sequence[str], path: Path) -> Iterator[Remark]:
    """Names of headers that differ in case only are one: the first counts."""
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name.lower() in seen:
            yield warning(f"read {name!r}, which is given already; only the first counts", *path, number, "name")
        seen.add(name.lower())


def _backends(backends: Sequence[WeightedBackend], path: Path, answer: str) -> Iterator[Remark]:
    if not backends:
        yield warning(f"missing; whatever the rule matches is answered {answer}", *path)
    elif not any(backend.weight for backend in backends):
        yield warning(f"read weights whose sum is 0; whatever the rule matches is answered {answer}", *path)


def _repeated(rules: Sequence[HttpRule | GrpcRule]) -> Iterator[Remark]:
    """Of two matches that are the same, the first takes all."""
    first: dict[str, int] = {}
    for number, rule in enumerate(rules):
        for position, match in enumerate(rule.matches):
            same = match.model_dump_json()
            if first.setdefault(same, number) != number:
                told = f"no request reaches it: rules[{first[same]}] has the same match"
                yield warning(told, "spec", "rules", number, "matches", position)
