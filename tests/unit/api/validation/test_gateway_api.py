"""What is told of the Gateway API's objects, none of which is refused."""

from __future__ import annotations

import pytest

from tests.support.validation import warnings

GATEWAY = "gateway.networking.k8s.io/v1/Gateway"
LISTENERS = "gateway.networking.k8s.io/v1/ListenerSet"
HTTP = "gateway.networking.k8s.io/v1/HTTPRoute"
GRPC = "gateway.networking.k8s.io/v1/GRPCRoute"
TCP = "gateway.networking.k8s.io/v1/TCPRoute"
TLS = "gateway.networking.k8s.io/v1/TLSRoute"
BACKENDS = "backendRefs: [{name: a, port: 80}]"
LISTENER = "spec.listeners[0]"
MATCH = "spec.rules[0].matches[0]"


def gateway(listener: str, class_name: str = "istio") -> str:
    return f"gatewayClassName: {class_name}\nlisteners: [{{name: a, {listener}}}]"


def route(*rules: str, parents: str = "[{name: a}]", more: str = "") -> str:
    return f"parentRefs: {parents}\nrules: [{', '.join(f'{{{rule}}}' for rule in rules)}]\n{more}"


def matching(match: str) -> str:
    return route(f"{BACKENDS}, matches: [{{{match}}}]")


@pytest.mark.parametrize(
    ("kind", "spec", "field", "says"),
    [
        (GATEWAY, gateway("port: 443, protocol: HTTPS"), f"{LISTENER}.tls", "protocol HTTPS needs it"),
        (GATEWAY, gateway("port: 53, protocol: UDP"), f"{LISTENER}.protocol", "HTTP, HTTPS, TLS or TCP"),
        (
            GATEWAY,
            gateway("port: 443, protocol: TLS, tls: {mode: Passthrough, certificateRefs: [{name: a}]}"),
            f"{LISTENER}.tls.certificateRefs",
            "mode Passthrough",
        ),
        (GATEWAY, gateway("port: 80, protocol: HTTP, hostname: 10.0.0.1"), f"{LISTENER}.hostname", "not an address"),
        (
            GATEWAY,
            gateway("port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}"),
            f"{LISTENER}.allowedRoutes.namespaces.selector",
            "no route may attach",
        ),
        (
            GATEWAY,
            gateway("port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All, selector: {}}}"),
            f"{LISTENER}.allowedRoutes.namespaces.selector",
            "without effect",
        ),
        (GATEWAY, gateway("port: 80, protocol: HTTP", "istio-waypoint"), "spec.listeners", "HBONE on port 15008"),
        (GATEWAY, gateway("port: 80, protocol: HBONE", "istio-waypoint"), "spec.listeners", "HBONE on port 15008"),
        (
            LISTENERS,
            "parentRef: {name: a}\nlisteners: [{name: a, port: 443, protocol: HTTPS}]",
            f"{LISTENER}.tls",
            "not opened",
        ),
        (HTTP, route(BACKENDS, parents="[]"), "spec.parentRefs", "belongs to nothing"),
        (HTTP, route(BACKENDS, more="hostnames: [10.0.0.1]"), "spec.hostnames[0]", "not an address"),
        (HTTP, route("matches: []"), "spec.rules[0].backendRefs", "with status 500"),
        (
            HTTP,
            route("backendRefs: [{name: a, port: 80, weight: 0}]"),
            "spec.rules[0].backendRefs",
            "whose sum is 0",
        ),
        (HTTP, matching("path: {type: RegularExpression, value: '['}"), f"{MATCH}.path.value", "RE2"),
        (
            HTTP,
            matching("headers: [{type: RegularExpression, name: a, value: '('}]"),
            f"{MATCH}.headers[0].value",
            "RE2",
        ),
        (
            HTTP,
            matching("queryParams: [{type: RegularExpression, name: a, value: '*'}]"),
            f"{MATCH}.queryParams[0].value",
            "RE2",
        ),
        (
            HTTP,
            matching("headers: [{name: a, value: b}, {name: A, value: c}]"),
            f"{MATCH}.headers[1].name",
            "only the first",
        ),
        (HTTP, route(BACKENDS, BACKENDS), "spec.rules[1].matches[0]", "no request reaches it"),
        (GRPC, matching("method: {type: RegularExpression, service: '['}"), f"{MATCH}.method.service", "RE2"),
        (GRPC, route("name: a"), "spec.rules[0].backendRefs", "with UNAVAILABLE"),
        (TCP, route("backendRefs: [{name: a, port: 80, weight: 0}]"), "spec.rules[0].backendRefs", "by closing it"),
        (TLS, route(BACKENDS, parents="[]", more="hostnames: [a.com]"), "spec.parentRefs", "belongs to nothing"),
    ],
)
def test_what_is_ignored_or_answered_with_an_error_is_told(kind: str, spec: str, field: str, says: str) -> None:
    found = warnings(kind, spec)
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (GATEWAY, gateway("port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}, hostname: a.com")),
        (GATEWAY, gateway("port: 443, protocol: TLS, tls: {mode: Passthrough}")),
        (
            GATEWAY,
            gateway("port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {}}}"),
        ),
        (GATEWAY, gateway("port: 15008, protocol: HBONE", "istio-waypoint")),
        (HTTP, route(BACKENDS, more="hostnames: [a.com]")),
        (HTTP, route(BACKENDS, parents="[]", more="useDefaultGateways: All")),
        (HTTP, route("filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]")),
        (HTTP, route("backendRefs: [{name: a, port: 80, weight: 0}, {name: b, port: 80}]")),
        (HTTP, matching("path: {type: RegularExpression, value: '/v[0-9]+'}")),
        (HTTP, matching("headers: [{name: a, value: '['}]")),
        (HTTP, route(f"{BACKENDS}, matches: [{{path: {{value: /a}}}}]", BACKENDS)),
        (GRPC, matching("method: {type: RegularExpression, service: 'a.*'}")),
        (TCP, route(BACKENDS)),
        (TLS, route(BACKENDS, more="hostnames: [a.com]")),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(kind: str, spec: str) -> None:
    assert warnings(kind, spec) == {}
