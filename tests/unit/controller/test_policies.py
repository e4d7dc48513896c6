"""What becomes of an AuthorizationPolicy: every field, and every L7 case without a waypoint."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from agent.api.kubernetes import parse
from agent.api.security import AuthorizationPolicy
from agent.controller.policies import Outcome, convert, is_sent
from agent.proto import authorization_pb2 as pb
from tests.support.objects import Object, a_policy

L7 = {"to": [{"operation": {"methods": ["GET"]}}]}
FRONTEND = {"from": [{"source": {"principals": ["td/ns/shop/sa/frontend"]}}]}
OPEN = {"weft.io/unenforceable": "allow"}
SERVICE = [{"kind": "Service", "name": "web"}]
ONLY = "only a waypoint can tell, so"
ENFORCE = "only a waypoint can enforce it, so"


def outcome_of(given: Object) -> Outcome:
    parsed = parse(given, "f")
    assert isinstance(parsed, AuthorizationPolicy)
    outcome = convert(parsed)
    assert is_sent(parsed) == (outcome.policy is not None)
    return outcome


def sent(given: Object) -> pb.Authorization:
    policy = outcome_of(given).policy
    assert policy is not None
    return policy


def clauses(*all_of: list[Object]) -> pb.Rule:
    """A rule in protobuf JSON: for each clause its matches."""
    return ParseDict({"clauses": [{"matches": matches} for matches in all_of]}, pb.Rule())


def rules_of(*rules: Object, **more: Any) -> list[pb.Rule]:
    return list(sent(a_policy(rules=list(rules), **more)).rules)


def block(text: str) -> Object:
    network = ipaddress.ip_network(text)
    message = pb.Address(address=network.network_address.packed, length=network.prefixlen)
    return {"address": base64.b64encode(message.address).decode(), "length": message.length}


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ({"principals": ["td/ns/a/sa/b"]}, {"principals": [{"exact": "td/ns/a/sa/b"}]}),
        ({"principals": ["*"]}, {"principals": [{"presence": {}}]}),
        ({"principals": ["td/ns/a/*"]}, {"principals": [{"prefix": "td/ns/a/"}]}),
        ({"principals": ["*/sa/b"]}, {"principals": [{"suffix": "/sa/b"}]}),
        ({"notPrincipals": ["*"]}, {"notPrincipals": [{"presence": {}}]}),
        ({"namespaces": ["a", "b*"]}, {"namespaces": [{"exact": "a"}, {"prefix": "b"}]}),
        ({"notNamespaces": ["*a"]}, {"notNamespaces": [{"suffix": "a"}]}),
        ({"ipBlocks": ["10.1.2.3", "10.0.0.1/8"]}, {"sourceIps": [block("10.1.2.3/32"), block("10.0.0.0/8")]}),
        ({"notIpBlocks": ["fd00::/8"]}, {"notSourceIps": [block("fd00::/8")]}),
        (
            {"serviceAccounts": ["bank/clerk", "web"]},
            {
                "serviceAccounts": [
                    {"namespace": "bank", "serviceAccount": "clerk"},
                    {"namespace": "shop", "serviceAccount": "web"},
                ]
            },
        ),
        ({"notServiceAccounts": ["web"]}, {"notServiceAccounts": [{"namespace": "shop", "serviceAccount": "web"}]}),
    ],
)
def test_a_source_is_told_as_it_is_written(source: Object, match: Object) -> None:
    assert rules_of({"from": [{"source": source}]}) == [clauses([match])]


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        ({"key": "source.ip", "values": ["10.0.0.0/8"]}, {"sourceIps": [block("10.0.0.0/8")]}),
        ({"key": "source.ip", "notValues": ["10.0.0.0/8"]}, {"notSourceIps": [block("10.0.0.0/8")]}),
        ({"key": "source.namespace", "values": ["a*"]}, {"namespaces": [{"prefix": "a"}]}),
        ({"key": "source.namespace", "notValues": ["a"]}, {"notNamespaces": [{"exact": "a"}]}),
        ({"key": "source.principal", "values": ["*"]}, {"principals": [{"presence": {}}]}),
        ({"key": "source.principal", "notValues": ["x"]}, {"notPrincipals": [{"exact": "x"}]}),
        ({"key": "destination.ip", "values": ["fd00::1"]}, {"destinationIps": [block("fd00::1/128")]}),
        ({"key": "destination.ip", "notValues": ["10.0.0.1"]}, {"notDestinationIps": [block("10.0.0.1/32")]}),
        (
            {"key": "destination.port", "values": ["80"], "notValues": ["81", "82"]},
            {"destinationPorts": [80], "notDestinationPorts": [81, 82]},
        ),
    ],
)
def test_a_condition_is_a_clause_of_its_own(condition: Object, match: Object) -> None:
    also = {"key": "destination.port", "values": ["9"]}
    assert rules_of({"when": [condition, also]}) == [clauses([match], [{"destinationPorts": [9]}])]


def test_clauses_come_in_the_order_to_from_when_and_entries_are_alternatives() -> None:
    rule = {
        "from": [{"source": {"namespaces": ["a"]}}, {"source": {"principals": ["p"], "ipBlocks": ["10.0.0.1"]}}],
        "to": [{"operation": {"ports": ["80", "81"]}}, {"operation": {"notPorts": ["22"]}}],
        "when": [{"key": "source.namespace", "values": ["b"]}],
    }
    assert rules_of(rule) == [
        clauses(
            [{"destinationPorts": [80, 81]}, {"notDestinationPorts": [22]}],
            [{"namespaces": [{"exact": "a"}]}, {"principals": [{"exact": "p"}], "sourceIps": [block("10.0.0.1/32")]}],
            [{"namespaces": [{"exact": "b"}]}],
        )
    ]


@pytest.mark.parametrize(
    ("given", "scope"),
    [
        (a_policy(), pb.NAMESPACE),
        (a_policy(selector={}), pb.NAMESPACE),
        (a_policy(selector={"matchLabels": {"app": "web"}}), pb.WORKLOAD_SELECTOR),
        (a_policy(namespace="istio-system"), pb.GLOBAL),
        (a_policy(namespace="istio-system", selector={"matchLabels": {"app": "web"}}), pb.WORKLOAD_SELECTOR),
    ],
)
def test_the_scope_follows_namespace_and_selector(given: Object, scope: int) -> None:
    metadata = given["metadata"]
    assert outcome_of(given) == Outcome(
        pb.Authorization(name=metadata["name"], namespace=metadata["namespace"], scope=scope)  # type: ignore[arg-type]
    )


def test_no_rules_never_match_and_an_empty_rule_always_does() -> None:
    assert rules_of() == []
    assert rules_of({}) == [pb.Rule()]


def test_a_dry_run_is_told_as_such() -> None:
    assert sent(a_policy(annotations={"istio.io/dry-run": "true"})).dry_run
    assert not sent(a_policy(annotations={"istio.io/dry-run": "false"})).dry_run


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        *(
            ({"to": [{"operation": {"ports": ["80"], name: ["x"]}}]}, f"to[0].operation.{name}")
            for name in ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")
        ),
        *(
            ({"from": [{"source": {"namespaces": ["a"], name: ["10.0.0.1"]}}]}, f"from[0].source.{name}")
            for name in (
                "requestPrincipals",
                "notRequestPrincipals",
                "remoteIpBlocks",
                "notRemoteIpBlocks",
                "trustDomains",
                "notTrustDomains",
            )
        ),
        *(
            ({**FRONTEND, "when": [{"key": key, "values": ["10.0.0.1"]}]}, f"when[0].key {key}")
            for key in (
                "remote.ip",
                "connection.sni",
                "request.auth.principal",
                "request.auth.audiences",
                "request.auth.presenter",
                "request.headers[x]",
                "request.auth.claims[iss]",
                "source.trustDomain",
                "source.serviceAccount",
            )
        ),
    ],
)
def test_an_allow_rule_with_an_l7_field_allows_nothing(rule: Object, field: str) -> None:
    outcome = outcome_of(a_policy(rules=[rule, FRONTEND]))
    assert outcome.policy is not None
    assert list(outcome.policy.rules) == [clauses([{"principals": [{"exact": "td/ns/shop/sa/frontend"}]}])]
    assert outcome.shortfalls == (f"spec.rules[0]: {field}: {ONLY} the rule allows nothing",)


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"to": [{"operation": {"ports": ["80"], "methods": ["GET"]}}]}, clauses([{"destinationPorts": [80]}])),
        ({**FRONTEND, **L7}, clauses([{"principals": [{"exact": "td/ns/shop/sa/frontend"}]}])),
        (
            # One alternative of `to` is open to every connection, so `to` asks for nothing at all.
            {**FRONTEND, "to": [{"operation": {"ports": ["80"]}}, {"operation": {"methods": ["GET"]}}]},
            clauses([{"principals": [{"exact": "td/ns/shop/sa/frontend"}]}]),
        ),
        (
            {**FRONTEND, "when": [{"key": "request.headers[x]", "values": ["y"]}]},
            clauses([{"principals": [{"exact": "td/ns/shop/sa/frontend"}]}]),
        ),
    ],
)
def test_of_a_deny_rule_the_l4_part_denies(rule: Object, left: pb.Rule) -> None:
    outcome = outcome_of(a_policy(action="DENY", rules=[rule]))
    assert outcome.policy is not None
    assert (outcome.policy.action, list(outcome.policy.rules)) == (pb.DENY, [left])
    assert [text.rpartition("so ")[2] for text in outcome.shortfalls] == [
        "the rest of the rule denies whatever the request is"
    ]


@pytest.mark.parametrize("rule", [L7, {"when": [{"key": "request.headers[x]", "values": ["y"]}]}])
def test_a_deny_rule_of_l7_fields_only_denies_every_connection(rule: Object) -> None:
    outcome = outcome_of(a_policy(action="DENY", rules=[rule]))
    assert outcome.policy is not None
    assert list(outcome.policy.rules) == [pb.Rule()]
    assert outcome.shortfalls[0].endswith(f"{ONLY} the rule denies every connection")


@pytest.mark.parametrize(
    ("spec", "scope", "reason"),
    [
        ({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [FRONTEND]}, pb.NAMESPACE, "spec.action: CUSTOM"),
        ({"targetRefs": SERVICE, "rules": [FRONTEND]}, pb.WORKLOAD_SELECTOR, "spec.targetRefs: Service web"),
        ({"targetRef": SERVICE[0]}, pb.WORKLOAD_SELECTOR, "spec.targetRefs: Service web"),
    ],
)
def test_what_is_a_waypoint_s_wholly_denies_everything_to_its_target(
    spec: Object, scope: pb.Scope.ValueType, reason: str
) -> None:
    assert outcome_of(a_policy(**spec)) == Outcome(
        pb.Authorization(name="allow", namespace="shop", scope=scope, action=pb.DENY, rules=[pb.Rule()]),
        (f"{reason}: {ENFORCE} every connection to its targets is denied",),
    )


def test_a_policy_for_a_gateway_is_told_to_no_node_proxy() -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "wp"}
    outcome = outcome_of(a_policy(targetRefs=[target]))
    assert outcome.policy is None
    assert outcome.shortfalls == (f"spec.targetRefs: Gateway wp: {ENFORCE} it has no effect: no pod is its target",)


def test_audit_is_told_to_nobody_and_reported() -> None:
    outcome = outcome_of(a_policy(action="AUDIT", rules=[FRONTEND]))
    assert outcome == Outcome(None, ("spec.action: AUDIT is not carried out by node proxies",))


@pytest.mark.parametrize(
    ("spec", "rules", "then"),
    [
        ({"rules": [{**FRONTEND, **L7}]}, 1, "the rest of the rule allows whatever the request is"),
        ({"action": "DENY", "rules": [{**FRONTEND, **L7}]}, 0, "the rule denies nothing"),
        ({"action": "CUSTOM", "provider": {"name": "x"}}, None, "it has no effect"),
        ({"targetRefs": SERVICE}, None, "it has no effect"),
    ],
)
def test_the_annotation_opts_a_policy_out_and_the_shortfall_says_so(spec: Object, rules: int | None, then: str) -> None:
    outcome = outcome_of(a_policy(annotations=OPEN, **spec))
    assert (None if outcome.policy is None else len(outcome.policy.rules)) == rules
    (shortfall,) = outcome.shortfalls
    assert shortfall.endswith(f"so {then}, allowed by the annotation weft.io/unenforceable")
