"""What node proxies are told for an AuthorizationPolicy. Pure rules.

A node proxy judges connections, so it can enforce identities, addresses and ports, and nothing
of what a request says (here: L7). Until a waypoint does that, a policy with L7 parts is turned
into one that never lets through more than its author meant: of an ALLOW rule nothing is left, a
DENY rule keeps its L4 part, and what belongs to a waypoint wholly (CUSTOM, or a Service as
target) denies everything to its targets. The annotation weft.io/unenforceable: allow turns this
round for one policy. Every such case is a shortfall, in words for its author.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.empty_pb2 import Empty

from agent.api import security
from agent.api.selectors import WorkloadSelector
from agent.controller.labels import Subject
from agent.proto import authorization_pb2 as pb
from agent.wire import SYSTEM_NAMESPACE

_L7_OF_SOURCE: Final = {
    "request_principals": "requestPrincipals",
    "not_request_principals": "notRequestPrincipals",
    "remote_ip_blocks": "remoteIpBlocks",
    "not_remote_ip_blocks": "notRemoteIpBlocks",
    "trust_domains": "trustDomains",
    "not_trust_domains": "notTrustDomains",
}
_L7_OF_OPERATION: Final = {
    "hosts": "hosts",
    "not_hosts": "notHosts",
    "methods": "methods",
    "not_methods": "notMethods",
    "paths": "paths",
    "not_paths": "notPaths",
}
_OPTED_OUT: Final = f"allowed by the annotation {security.UNENFORCEABLE_ANNOTATION}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """policy: None when node proxies are told nothing. shortfalls: what of the policy is not enforced as written."""

    policy: pb.Authorization | None
    shortfalls: tuple[str, ...] = ()


def is_listed(policy: security.AuthorizationPolicy) -> bool:
    """Whether the workloads that it governs name it; it governs all of a namespace or of the mesh otherwise."""
    return bool(policy.spec.selector.match_labels or policy.spec.targets)


def selects(labels: WorkloadSelector, namespace: str, is_of_mesh: bool, pod: Subject) -> bool:
    """Whether a selector in a namespace means a workload; one of the root namespace reaches all namespaces."""
    return (is_of_mesh or pod.namespace == namespace) and labels.match_labels.items() <= pod.labels.items()


def target_services(policy: security.AuthorizationPolicy) -> Sequence[str]:
    """Names of the Services that are its targets, in its own namespace."""
    return [target.name for target in policy.spec.targets if target.kind == "Service"]


def is_sent(policy: security.AuthorizationPolicy) -> bool:
    """Whether node proxies are told of it; workloads must not name a policy that is not."""
    spec = policy.spec
    if spec.action == "AUDIT":
        return False
    if spec.targets:
        return bool(target_services(policy)) and not policy.fails_open
    return not (spec.action == "CUSTOM" and policy.fails_open)


def convert(policy: security.AuthorizationPolicy, root_namespace: str = SYSTEM_NAMESPACE) -> Outcome:
    """The policy as node proxies get it, and what it falls short of, which the root namespace does not change."""
    spec = policy.spec
    if spec.action == "AUDIT":
        return Outcome(None, ("spec.action: AUDIT is not carried out by node proxies",))
    if reasons := _needs_waypoint(spec):
        return _without_waypoint(policy, reasons, root_namespace)
    rules: list[pb.Rule] = []
    shortfalls: list[str] = []
    for number, rule in enumerate(spec.rules):
        unsupported = _unsupported(rule)
        # What is kept of a rule is its L4 part: wider than the rule. For a DENY that is the safe side.
        is_kept = not unsupported or (spec.action == "DENY") != policy.fails_open
        if is_kept:
            rules.append(_rule(rule, policy.metadata.namespace))
        if unsupported:
            then = _consequence(policy, rules[-1] if is_kept else None)
            shortfalls.append(f"spec.rules[{number}]: {', '.join(unsupported)}: only a waypoint can tell, so {then}")
    action = pb.DENY if spec.action == "DENY" else pb.ALLOW
    return Outcome(_authorization(policy, action, rules, root_namespace), tuple(shortfalls))


def _needs_waypoint(spec: security.AuthorizationPolicySpec) -> list[str]:
    reasons = [f"spec.targetRefs: {target.kind} {target.name}" for target in spec.targets]
    return reasons or ([f"spec.action: {spec.action}"] if spec.action == "CUSTOM" else [])


def _without_waypoint(policy: security.AuthorizationPolicy, reasons: Iterable[str], root_namespace: str) -> Outcome:
    asked = f"{', '.join(reasons)}: only a waypoint can enforce it, so "
    if is_sent(policy):
        denied = _authorization(policy, pb.DENY, [pb.Rule()], root_namespace)
        return Outcome(denied, (f"{asked}every connection to its targets is denied",))
    if policy.fails_open:
        return Outcome(None, (f"{asked}it has no effect, {_OPTED_OUT}",))
    return Outcome(None, (f"{asked}it has no effect: no pod is its target",))


def _consequence(policy: security.AuthorizationPolicy, kept: pb.Rule | None) -> str:
    match policy.spec.action, kept:
        case "DENY", None:
            return f"the rule denies nothing, {_OPTED_OUT}"
        case "DENY", rule if rule is not None and rule.clauses:
            return "the rest of the rule denies whatever the request is"
        case "DENY", _:
            return "the rule denies every connection"
        case _, None:
            return "the rule allows nothing"
        case _:
            return f"the rest of the rule allows whatever the request is, {_OPTED_OUT}"


def _authorization(
    policy: security.AuthorizationPolicy, action: pb.Action.ValueType, rules: Sequence[pb.Rule], root_namespace: str
) -> pb.Authorization:
    metadata = policy.metadata
    unlisted = pb.GLOBAL if policy.is_of_mesh(root_namespace) else pb.NAMESPACE
    return pb.Authorization(
        name=metadata.name,
        namespace=metadata.namespace,
        scope=pb.WORKLOAD_SELECTOR if is_listed(policy) else unlisted,
        action=action,
        rules=rules,
        dry_run=policy.is_dry_run,
    )


def _unsupported(rule: security.Rule) -> list[str]:
    """The rule's L7 fields, as its author wrote them."""
    found = [
        f"to[{number}].operation.{written}"
        for number, to in enumerate(rule.to)
        for name, written in _L7_OF_OPERATION.items()
        if getattr(to.operation, name)
    ]
    found += [
        f"from[{number}].source.{written}"
        for number, from_ in enumerate(rule.from_)
        for name, written in _L7_OF_SOURCE.items()
        if getattr(from_.source, name)
    ]
    return found + [f"when[{number}].key {each.key}" for number, each in enumerate(rule.when) if not each.is_l4]


def _rule(rule: security.Rule, namespace: str) -> pb.Rule:
    """The L4 part of a rule. Istio's order of clauses: to, from, then one for each condition."""
    clauses = [
        _clause(_operation(to.operation) for to in rule.to),
        _clause(_source(from_.source, namespace) for from_ in rule.from_),
        *(_clause([_condition(each)]) for each in rule.when),
    ]
    return pb.Rule(clauses=[clause for clause in clauses if clause is not None])


def _clause(alternatives: Iterable[pb.Match]) -> pb.Clause | None:
    """None if there is nothing to ask for.

    An alternative without a field (its fields were all L7) is open to everybody, so the clause
    is. It must not be sent: proxies pass over an empty match, and judge by the other ones.
    """
    matches = list(alternatives)
    return pb.Clause(matches=matches) if matches and all(match != pb.Match() for match in matches) else None


def _operation(operation: security.Operation) -> pb.Match:
    return pb.Match(
        destination_ports=[int(port) for port in operation.ports],
        not_destination_ports=[int(port) for port in operation.not_ports],
    )


def _source(source: security.Source, namespace: str) -> pb.Match:
    return pb.Match(
        namespaces=_strings(source.namespaces),
        not_namespaces=_strings(source.not_namespaces),
        principals=_strings(source.principals),
        not_principals=_strings(source.not_principals),
        source_ips=_blocks(source.ip_blocks),
        not_source_ips=_blocks(source.not_ip_blocks),
        service_accounts=_accounts(source.service_accounts, namespace),
        not_service_accounts=_accounts(source.not_service_accounts, namespace),
    )


def _condition(condition: security.Condition) -> pb.Match:
    """Empty for an attribute of requests."""
    values, not_values = condition.values, condition.not_values
    match condition.key:
        case "source.ip":
            return pb.Match(source_ips=_blocks(values), not_source_ips=_blocks(not_values))
        case "source.namespace":
            return pb.Match(namespaces=_strings(values), not_namespaces=_strings(not_values))
        case "source.principal":
            return pb.Match(principals=_strings(values), not_principals=_strings(not_values))
        case "destination.ip":
            return pb.Match(destination_ips=_blocks(values), not_destination_ips=_blocks(not_values))
        case "destination.port":
            ports, not_ports = [int(port) for port in values], [int(port) for port in not_values]
            return pb.Match(destination_ports=ports, not_destination_ports=not_ports)
    return pb.Match()


def _strings(patterns: Iterable[str]) -> list[pb.StringMatch]:
    return [_string(pattern) for pattern in patterns]


def _string(pattern: str) -> pb.StringMatch:
    if pattern == "*":
        return pb.StringMatch(presence=Empty())
    if pattern.startswith("*"):
        return pb.StringMatch(suffix=pattern[1:])
    if pattern.endswith("*"):
        return pb.StringMatch(prefix=pattern[:-1])
    return pb.StringMatch(exact=pattern)


def _blocks(blocks: Iterable[str]) -> list[pb.Address]:
    networks = [ipaddress.ip_network(block, strict=False) for block in blocks]
    return [pb.Address(address=network.network_address.packed, length=network.prefixlen) for network in networks]


def _accounts(accounts: Iterable[str], namespace: str) -> list[pb.ServiceAccountMatch]:
    parts = [account.rpartition("/") for account in accounts]
    return [pb.ServiceAccountMatch(namespace=there or namespace, serviceAccount=name) for there, _, name in parts]
