"""GRPCRoute, TCPRoute, TLSRoute and BackendTLSPolicy: each rule broken, and each nearly."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.gateway_api.backend_tls import BackendTLSPolicy
from agent.api.gateway_api.grpc_route import GRPCRoute
from agent.api.kubernetes import parse
from tests.support.gateway_objects import Object, a_grpc_route, a_stream_route, a_tls_policy, faults_of

MODIFIER = {"type": "RequestHeaderModifier", "requestHeaderModifier": {}}
RESPONSE_MODIFIER = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {}}
AUTHORITY = {"group": "", "kind": "ConfigMap", "name": "ca"}
SERVICE = {"group": "", "kind": "Service", "name": "a"}
RULE = {"backendRefs": [{"name": "a", "port": 80}]}


def method(**given: Any) -> Object:
    return a_grpc_route({"matches": [{"method": given}]})


def matches(*counts: int) -> Object:
    return a_grpc_route(*({"matches": [{}] * count} for count in counts))


def san(**given: Any) -> Object:
    return a_tls_policy(subjectAltNames=[given])


METHOD = "spec.rules[0].matches[0].method"
SAN = "spec.validation.subjectAltNames[0]"
GRPC = {
    "neither service nor method": (method(type="Exact"), METHOD, "at least one of service and method"),
    "a service with a slash": (method(service="a/b"), METHOD, "service: accepted are letters"),
    "a service that starts with a digit": (method(service="a.1b"), METHOD, "service: accepted are letters"),
    "a method with a dot": (method(method="a.b"), METHOD, "method: accepted are letters"),
    "an empty method": (method(method=""), METHOD, "method: accepted are letters"),
    "two modifiers": (
        a_grpc_route({"filters": [MODIFIER, MODIFIER]}),
        "spec.rules[0].filters",
        "RequestHeaderModifier is there 2 times",
    ),
    "two of responses": (
        a_grpc_route({"filters": [RESPONSE_MODIFIER, RESPONSE_MODIFIER]}),
        "spec.rules[0].filters",
        "ResponseHeaderModifier is there 2 times",
    ),
    **{
        f"{type} without settings": (
            a_grpc_route({"filters": [{"type": type}]}),
            "spec.rules[0].filters[0]",
            f"{field}: accepted with type {type}",
        )
        for type, field in (
            ("RequestHeaderModifier", "requestHeaderModifier"),
            ("ResponseHeaderModifier", "responseHeaderModifier"),
            ("RequestMirror", "requestMirror"),
            ("ExtensionRef", "extensionRef"),
        )
    },
    "other settings": (
        a_grpc_route({"filters": [{**MODIFIER, "responseHeaderModifier": {}}]}),
        "spec.rules[0].filters[0]",
        "responseHeaderModifier: accepted with type ResponseHeaderModifier",
    ),
    "a redirect": (
        a_grpc_route({"filters": [{"type": "RequestRedirect"}]}),
        "spec.rules[0].filters[0].type",
        "accepted is 'RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror' or 'ExtensionRef'",
    ),
    "129 matches": (matches(64, 64, 1), "spec.rules", "there are 129 matches; accepted are 128"),
    "a name twice": (a_grpc_route({"name": "a"}, {"name": "a"}), "spec.rules", "rule name 'a' is there 2 times"),
    "a header twice": (
        a_grpc_route({"matches": [{"headers": [{"name": "x", "value": "1"}] * 2}]}),
        "spec.rules[0].matches[0].headers",
        "header 'x' is there 2 times",
    ),
    "a service without a port": (
        a_grpc_route({"backendRefs": [{"name": "a"}]}),
        "spec.rules[0].backendRefs[0]",
        "port: missing; a Service needs it",
    ),
}
STREAMS = {
    "two rules of TCP": (
        a_stream_route("TCPRoute", rules=[RULE, RULE]),
        "",
        "spec.rules: there are 2; accepted is one",
    ),
    "two rules of TLS": (
        a_stream_route("TLSRoute", rules=[RULE, RULE]),
        "",
        "spec.rules: there are 2; accepted is one",
    ),
    "two rules of v1alpha3": (a_stream_route("TLSRoute", "v1alpha3", rules=[RULE] * 2), "", "spec.rules: there are 2"),
    "one name twice": (
        a_stream_route("TCPRoute", "v1alpha2", rules=[{"name": "a", **RULE}, {"name": "a", **RULE}]),
        "spec.rules",
        "rule name 'a' is there 2 times",
    ),
    "no backends": (
        a_stream_route("TCPRoute", rules=[{"backendRefs": []}]),
        "spec.rules[0].backendRefs",
        "there are 0; accepted are 1 to 16",
    ),
    "no names": (a_stream_route("TLSRoute", hostnames=[]), "", "spec.hostnames: accepted is at least one"),
    "an address as a name": (
        a_stream_route("TLSRoute", hostnames=["10.0.0.1"]),
        "",
        "spec.hostnames: 10.0.0.1 is an address; accepted are host names",
    ),
    "a wildcard in the middle": (
        a_stream_route("TLSRoute", hostnames=["a.*.b"]),
        "spec.hostnames[0]",
        "accepted is a host name in lower case, or *.DOMAIN",
    ),
    "a parent twice": (
        a_stream_route("TCPRoute", parentRefs=[{"name": "a"}] * 2),
        "spec.parentRefs",
        "Gateway a is there 2 times",
    ),
}
BACKEND_TLS = {
    "nobody vouches": (
        a_tls_policy(caCertificateRefs=[]),
        "spec.validation",
        "exactly one of caCertificateRefs and wellKnownCACertificates",
    ),
    "two vouch": (
        a_tls_policy(caCertificateRefs=[AUTHORITY], wellKnownCACertificates="System"),
        "spec.validation",
        "exactly one of caCertificateRefs and wellKnownCACertificates",
    ),
    "an unknown set": (
        a_tls_policy(wellKnownCACertificates="Mozilla"),
        "spec.validation.wellKnownCACertificates",
        "accepted is System or DOMAIN/NAME",
    ),
    "a wildcard": (a_tls_policy(hostname="*.a.b"), "spec.validation.hostname", "accepted is a host name in lower case"),
    "no host name": (san(type="Hostname"), SAN, "hostname: accepted with type Hostname, which needs it"),
    "a host name too": (
        san(type="URI", uri="spiffe://a", hostname="a.b"),
        SAN,
        "hostname: accepted with type Hostname",
    ),
    "no URI": (san(type="URI"), SAN, "uri: accepted with type URI, which needs it"),
    "a URI too": (san(type="Hostname", hostname="a.b", uri="spiffe://a"), SAN, "uri: accepted with type URI"),
    "a URI without an authority": (san(type="URI", uri="urn:a"), f"{SAN}.uri", "accepted is SCHEME://AUTHORITY"),
    "a target twice": (a_tls_policy(SERVICE, SERVICE), "spec.targetRefs", "Service a is there 2 times"),
    "a target whole and in part": (
        a_tls_policy(SERVICE, {**SERVICE, "sectionName": "https"}),
        "spec.targetRefs",
        "accepted is sectionName in all of them, or once",
    ),
    "a part twice": (
        a_tls_policy(*[{**SERVICE, "sectionName": "https"}] * 2),
        "spec.targetRefs",
        "accepted is another sectionName in each",
    ),
}
REFUSED = {
    f"{kind}: {name}": case
    for kind, cases in (("GRPC", GRPC), ("streams", STREAMS), ("backend TLS", BACKEND_TLS))
    for name, case in cases.items()
}
ACCEPTED = {
    "no rules": a_grpc_route(),
    "a whole service": method(service="a.B_c.D1"),
    "a service that starts with a dot": method(service=".a"),
    "a method alone": method(method="_Get1"),
    "a regex of services": method(type="RegularExpression", service="a/.*"),
    "128 matches": matches(64, 64),
    "two mirrors": a_grpc_route(
        {"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a", "port": 80}}}] * 2}
    ),
    "any text in a matched header": a_grpc_route({"matches": [{"headers": [{"name": "x", "value": "a  é"}]}]}),
    "TCP": a_stream_route("TCPRoute"),
    "two rules of v1alpha2": a_stream_route("TCPRoute", "v1alpha2", rules=[RULE, RULE]),
    "TLS": a_stream_route("TLSRoute", "v1alpha3"),
    "a wildcard": a_stream_route("TLSRoute", hostnames=["*.a.b", "1.2.3.4.a"]),
    "no names in v1alpha2": a_stream_route("TLSRoute", "v1alpha2", hostnames=[]),
    "an address in v1alpha2": a_stream_route("TLSRoute", "v1alpha2", hostnames=["10.0.0.1"]),
    "a CA": a_tls_policy(caCertificateRefs=[AUTHORITY]),
    "a set of one's own": a_tls_policy(wellKnownCACertificates="example.com/x"),
    "names": a_tls_policy(
        subjectAltNames=[{"type": "URI", "uri": "spiffe://a/b"}, {"type": "Hostname", "hostname": "*.a"}]
    ),
    "two parts": a_tls_policy(*({**SERVICE, "sectionName": name} for name in "ab")),
    "two targets": a_tls_policy(SERVICE, {**SERVICE, "name": "b", "sectionName": "https"}),
}


@pytest.mark.parametrize(("given", "field", "says"), REFUSED.values(), ids=REFUSED)
def test_what_the_crd_refuses_is_refused_with_field_and_reason(given: Object, field: str, says: str) -> None:
    faults = faults_of(given)
    assert list(faults) == [field]
    assert says in faults[field]


@pytest.mark.parametrize("given", ACCEPTED.values(), ids=ACCEPTED)
def test_what_only_nearly_breaks_a_rule_is_read(given: Object) -> None:
    assert parse(given, "f").metadata.name == "it"


def test_a_route_of_calls_has_no_match_unless_it_says_so() -> None:
    route = parse(a_grpc_route({}, {"matches": [{"method": {"service": "a"}}]}), "f")
    assert isinstance(route, GRPCRoute)
    anything, one = route.spec.rules
    assert anything.matches == ()
    assert one.matches[0].method is not None and one.matches[0].method.type == "Exact"


def test_a_policy_of_the_older_version_is_read_as_well() -> None:
    policy = parse({**a_tls_policy(), "apiVersion": "gateway.networking.k8s.io/v1alpha3"}, "f")
    assert isinstance(policy, BackendTLSPolicy)
    assert policy.spec.validation.well_known_ca_certificates == "System"
