"""What is accepted as a policy, and how the rest is refused."""

from typing import Any

import pytest

from agent.api.kubernetes import parse
from agent.api.security import AuthorizationPolicy, PeerAuthentication
from agent.errors import InvalidObjectError
from tests.support.objects import Object, a_peer, a_policy

DIGITS = "accepted is a number from 1 to 65535, as a text"
BLOCK = "accepted is an IPv4 or IPv6 address, or a CIDR block"
NOT_EMPTY = "accepted is a text that is not empty"
AT_LEAST_ONE = "accepted is at least one"


def fault_of(given: Object) -> str:
    with pytest.raises(InvalidObjectError) as caught:
        parse(given, "f")
    return str(caught.value).removeprefix("f: ")


def with_rule(**rule: Any) -> Object:
    return a_policy(rules=[rule])


def from_source(**source: Any) -> Object:
    return with_rule(**{"from": [{"source": source}]})


def to_operation(**operation: Any) -> Object:
    return with_rule(to=[{"operation": operation}])


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_served_version_is_read(version: str) -> None:
    given = {**a_policy(action="DENY"), "apiVersion": f"security.istio.io/{version}"}
    policy = parse(given, "f")
    assert isinstance(policy, AuthorizationPolicy)
    assert policy.spec.action == "DENY"


def test_every_field_is_read() -> None:
    source = {
        **{name: ["a"] for name in ("principals", "notPrincipals", "requestPrincipals", "notRequestPrincipals")},
        **{name: ["a"] for name in ("namespaces", "notNamespaces", "trustDomains", "notTrustDomains")},
        **{name: ["10.0.0.0/8"] for name in ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks")},
    }
    operation = {
        **{name: ["a"] for name in ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")},
        **{name: ["80"] for name in ("ports", "notPorts")},
    }
    when = {"key": "request.headers[version]", "values": ["v1"], "notValues": ["v2"]}
    policy = parse(with_rule(**{"from": [{"source": source}], "to": [{"operation": operation}], "when": [when]}), "f")
    assert isinstance(policy, AuthorizationPolicy)
    (rule,) = policy.spec.rules
    assert rule.from_[0].source.model_fields_set == set(type(rule.from_[0].source).model_fields) - {
        "service_accounts",
        "not_service_accounts",
    }
    assert rule.to[0].operation.model_fields_set == set(type(rule.to[0].operation).model_fields)
    assert rule.when[0].model_dump() == {"key": when["key"], "values": ("v1",), "not_values": ("v2",)}


def test_a_policy_without_a_spec_allows_nothing() -> None:
    given = a_policy()
    del given["spec"]
    policy = parse(given, "f")
    assert isinstance(policy, AuthorizationPolicy)
    assert (policy.spec.action, policy.spec.rules) == ("ALLOW", ())


@pytest.mark.parametrize("port", [8080, "8080"])
def test_a_port_of_mutual_tls_is_a_number_whoever_wrote_it(port: int | str) -> None:
    peer = parse(a_peer(app="web", ports={port: "STRICT"}), "f")  # type: ignore[dict-item]  # YAML's keys
    assert isinstance(peer, PeerAuthentication)
    assert {number: mtls.mode for number, mtls in peer.spec.port_level_mtls.items()} == {8080: "STRICT"}


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        (a_policy(acton="ALLOW"), "spec.acton", "unknown field"),
        ({**a_policy(), "spc": {}}, "spc", "unknown field"),
        (with_rule(form=[]), "spec.rules[0].form", "unknown field"),
        (from_source(principal=["a"]), "spec.rules[0].from[0].source.principal", "unknown field"),
        (from_source(not_principals=["a"]), "spec.rules[0].from[0].source.not_principals", "unknown field"),
        (to_operation(verbs=["GET"]), "spec.rules[0].to[0].operation.verbs", "unknown field"),
        (
            a_policy(selector={"matchExpressions": []}),
            "spec.selector.matchExpressions",
            "unknown field",
        ),
        (a_policy(action="PERMIT"), "spec.action", "accepted is 'ALLOW', 'DENY', 'AUDIT' or 'CUSTOM'"),
        (a_policy(rules={}), "spec.rules", "accepted is a list"),
        (a_policy(rules=[None]), "spec.rules[0]", "accepted is a map"),
        (with_rule(**{"from": []}), "spec.rules[0].from", AT_LEAST_ONE),
        (with_rule(to=[]), "spec.rules[0].to", AT_LEAST_ONE),
        (with_rule(when=[]), "spec.rules[0].when", AT_LEAST_ONE),
        (with_rule(**{"from": [{}]}), "spec.rules[0].from[0].source", "missing; it is required"),
        (from_source(), "spec.rules[0].from[0].source", "accepted is at least one field"),
        (to_operation(), "spec.rules[0].to[0].operation", "accepted is at least one field"),
        (from_source(principals=[]), "spec.rules[0].from[0].source.principals", AT_LEAST_ONE),
        (from_source(principals="a"), "spec.rules[0].from[0].source.principals", "accepted is a list"),
        (from_source(principals=[""]), "spec.rules[0].from[0].source.principals[0]", NOT_EMPTY),
        (from_source(principals=["a*b"]), "spec.rules[0].from[0].source.principals[0]", "accepted is '*' alone"),
        (from_source(principals=["*a*"]), "spec.rules[0].from[0].source.principals[0]", "accepted is '*' at one end"),
        (
            from_source(principals=["spiffe://cluster.local/ns/a/sa/b"]),
            "spec.rules[0].from[0].source.principals[0]",
            "accepted is TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://",
        ),
        (from_source(namespaces=[7]), "spec.rules[0].from[0].source.namespaces[0]", "accepted is a valid string"),
        (from_source(ipBlocks=["10.0.0.0/33"]), "spec.rules[0].from[0].source.ipBlocks[0]", BLOCK),
        (from_source(remoteIpBlocks=["here"]), "spec.rules[0].from[0].source.remoteIpBlocks[0]", BLOCK),
        (
            from_source(serviceAccounts=["a/b/c"]),
            "spec.rules[0].from[0].source.serviceAccounts[0]",
            "accepted is NAMESPACE/ACCOUNT, or ACCOUNT",
        ),
        (
            from_source(serviceAccounts=["a"], namespaces=["b"]),
            "spec.rules[0].from[0].source",
            "serviceAccounts: accepted only without principals and namespaces",
        ),
        (to_operation(ports=["0"]), "spec.rules[0].to[0].operation.ports[0]", DIGITS),
        (to_operation(ports=["65536"]), "spec.rules[0].to[0].operation.ports[0]", DIGITS),
        (to_operation(ports=["http"]), "spec.rules[0].to[0].operation.ports[0]", DIGITS),
        (to_operation(ports=[80]), "spec.rules[0].to[0].operation.ports[0]", "accepted is a valid string"),
        (to_operation(methods=[""]), "spec.rules[0].to[0].operation.methods[0]", NOT_EMPTY),
        (with_rule(when=[{"values": ["a"]}]), "spec.rules[0].when[0].key", "missing; it is required"),
        (with_rule(when=[{"key": "source.ip"}]), "spec.rules[0].when[0]", "accepted is at least one of values"),
        (with_rule(when=[{"key": "source.pod", "values": ["a"]}]), "spec.rules[0].when[0]", "key: accepted are"),
        (with_rule(when=[{"key": "source.ip", "values": ["x"]}]), "spec.rules[0].when[0]", BLOCK),
        (with_rule(when=[{"key": "destination.port", "values": ["x"]}]), "spec.rules[0].when[0]", DIGITS),
        (a_policy(action="CUSTOM"), "spec", "provider: accepted with action CUSTOM, which needs it"),
        (a_policy(provider={"name": "x"}), "spec", "provider: accepted with action CUSTOM, which needs it"),
        (a_policy(targetRefs=[]), "spec.targetRefs", AT_LEAST_ONE),
        (a_policy(targetRefs=[{"kind": "Pod", "name": "a"}]), "spec.targetRefs[0]", "accepted are Service"),
        (
            a_policy(selector={"matchLabels": {"a": "b"}}, targetRefs=[{"kind": "Service", "name": "a"}]),
            "spec",
            "accepted is at most one of selector, targetRef, targetRefs",
        ),
        (
            a_policy(targetRefs=[{"kind": "Service", "name": "a", "namespace": "bank"}]),
            "spec.targetRefs[0].namespace",
            "accepted is no namespace",
        ),
        (
            a_policy(annotations={"weft.io/unenforceable": "deny"}),
            "the object",
            "metadata.annotations: weft.io/unenforceable=deny: accepted is allow",
        ),
        (
            a_policy(annotations={"istio.io/dry-run": "yes"}),
            "the object",
            "metadata.annotations: istio.io/dry-run=yes: accepted is true or false",
        ),
        (a_peer(mode="STRIKT"), "spec.mtls.mode", "accepted is 'UNSET', 'DISABLE', 'PERMISSIVE' or 'STRICT'"),
        (a_peer(ports={"80": "STRICT"}), "spec", "portLevelMtls: accepted only with a selector"),
        (a_peer(app="web", ports={"0": "STRICT"}), "spec.portLevelMtls.0.[key]", "accepted is greater than"),
        (a_peer(app="web", ports={"70000": "STRICT"}), "spec.portLevelMtls.70000.[key]", "accepted is less than"),
        (a_peer(app="web", ports={"http": "STRICT"}), "spec.portLevelMtls.http.[key]", "accepted is a valid integer"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_object_and_field(given: Object, field: str, says: str) -> None:
    fault = fault_of(given)
    metadata = given["metadata"]
    assert fault.startswith(f"{given['kind']} {metadata['namespace']}/{metadata['name']}: {field}: "), fault
    assert says in fault
