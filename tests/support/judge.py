"""Two readings of a policy, as its author wrote it and as a node proxy evaluates what it was told; and a verdict
over many of the latter. All of it plain: one after the other, in the words of the rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from agent.api import security
from agent.proto import authorization_pb2 as pb


@dataclass(frozen=True, slots=True)
class Request:
    """A connection and what is said on it; the account is NAMESPACE and NAME, None for plain TCP."""

    account: tuple[str, str] | None
    source_ip: str
    port: int
    method: str = ""
    jwt: str = ""
    destination: str = "10.9.9.9"

    @property
    def principal(self) -> str | None:
        return f"td/ns/{self.account[0]}/sa/{self.account[1]}" if self.account else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The policy's name and the number of its rule; None where it was the lack of one that decided."""

    allowed: bool
    policy: str | None = None
    rule: int | None = None


T = TypeVar("T")


def as_written(policy: security.AuthorizationPolicy, request: Request) -> bool:
    """Whether any rule holds, by the words of the API."""
    return any(_rule(rule, policy.metadata.namespace, request) for rule in policy.spec.rules)


def as_told(policy: pb.Authorization, request: Request) -> bool:
    """Whether any rule holds, by the rules of node proxies."""
    return _matching_rule(policy, request) is not None


def verdict(
    namespace: str, listed: Collection[str], policies: Mapping[str, pb.Authorization], request: Request
) -> Verdict:
    """Of a workload in `namespace` that names the policies `listed`; `policies` are all there are, by name."""
    applying = sorted({*listed, *(name for name, policy in policies.items() if _reaches(policy, namespace))})
    for name in applying:
        if name not in policies or not (is_understood(policies[name]) or policies[name].dry_run):
            return Verdict(False, name)
    enforced = [name for name in applying if not policies[name].dry_run]
    for name in enforced:
        if policies[name].action == pb.DENY and (rule := _matching_rule(policies[name], request)) is not None:
            return Verdict(False, name, rule)
    allowing = [name for name in enforced if policies[name].action == pb.ALLOW]
    for name in allowing:
        if (rule := _matching_rule(policies[name], request)) is not None:
            return Verdict(True, name, rule)
    return Verdict(not allowing)


def is_understood(policy: pb.Authorization) -> bool:
    """Whether a node proxy of today can evaluate it; its scope has to be known here."""
    return policy.action in (pb.ALLOW, pb.DENY)


def _reaches(policy: pb.Authorization, namespace: str) -> bool:
    return policy.scope == pb.GLOBAL or (policy.scope == pb.NAMESPACE and policy.namespace == namespace)


def _matching_rule(policy: pb.Authorization, request: Request) -> int | None:
    holding = (n for n, rule in enumerate(policy.rules) if all(_clause(clause, request) for clause in rule.clauses))
    return next(holding, None)


def _rule(rule: security.Rule, namespace: str, request: Request) -> bool:
    return (
        (not rule.from_ or any(_source(each.source, namespace, request) for each in rule.from_))
        and (not rule.to or any(_operation(each.operation, request) for each in rule.to))
        and all(_condition(each, request) for each in rule.when)
    )


def _source(source: security.Source, namespace: str, request: Request) -> bool:
    there = request.account[0] if request.account else None

    def is_account(account: str) -> bool:
        return request.account == ((*account.split("/"),) if "/" in account else (namespace, account))

    return (
        _accepts(source.principals, source.not_principals, lambda p: _is_like(p, request.principal))
        and _accepts(source.namespaces, source.not_namespaces, lambda p: _is_like(p, there))
        and _accepts(source.service_accounts, source.not_service_accounts, is_account)
        and _accepts(source.ip_blocks, source.not_ip_blocks, lambda b: _is_in(b, request.source_ip))
        and _accepts(source.request_principals, source.not_request_principals, lambda p: _is_like(p, request.jwt))
    )


def _operation(operation: security.Operation, request: Request) -> bool:
    return _accepts(operation.ports, operation.not_ports, lambda port: int(port) == request.port) and _accepts(
        operation.methods, operation.not_methods, lambda method: method == request.method
    )


def _condition(condition: security.Condition, request: Request) -> bool:
    is_so: dict[str, Callable[[str], bool]] = {
        "source.ip": lambda value: _is_in(value, request.source_ip),
        "source.namespace": lambda value: _is_like(value, request.account[0] if request.account else None),
        "source.principal": lambda value: _is_like(value, request.principal),
        "destination.ip": lambda value: _is_in(value, request.destination),
        "destination.port": lambda value: int(value) == request.port,
        "request.auth.principal": lambda value: _is_like(value, request.jwt),
    }
    return _accepts(condition.values, condition.not_values, is_so[condition.key])


def _clause(clause: pb.Clause, request: Request) -> bool:
    matches = clause.matches
    return not matches or any(match != pb.Match() and _match(match, request) for match in matches)


def _match(match: pb.Match, request: Request) -> bool:
    there = request.account[0] if request.account else None

    def is_account(account: pb.ServiceAccountMatch) -> bool:
        return request.account == (account.namespace, account.serviceAccount)

    return (
        _accepts(match.namespaces, match.not_namespaces, lambda text: _is_text(text, there))
        and _accepts(match.principals, match.not_principals, lambda text: _is_text(text, request.principal))
        and _accepts(match.service_accounts, match.not_service_accounts, is_account)
        and _accepts(match.source_ips, match.not_source_ips, lambda block: _is_inside(block, request.source_ip))
        and _accepts(
            match.destination_ips, match.not_destination_ips, lambda block: _is_inside(block, request.destination)
        )
        and _accepts(match.destination_ports, match.not_destination_ports, lambda port: port == request.port)
    )


def _accepts(any_of: Iterable[T], none_of: Iterable[T], is_so: Callable[[T], bool]) -> bool:
    any_of = list(any_of)
    return (not any_of or any(map(is_so, any_of))) and not any(map(is_so, none_of))


def _is_like(pattern: str, text: str | None) -> bool:
    if not text:
        return False
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _is_text(match: pb.StringMatch, text: str | None) -> bool:
    if not text:
        return False
    match match.WhichOneof("match_type"):
        case "exact":
            return text == match.exact
        case "prefix":
            return text.startswith(match.prefix)
        case "suffix":
            return text.endswith(match.suffix)
    return True


def _is_in(block: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block)


def _is_inside(block: pb.Address, address: str) -> bool:
    ip = ipaddress.ip_address(address)
    network = ipaddress.ip_network((block.address, block.length), strict=False)
    # An IPv4 address in IPv6's clothes is the IPv4 address; so is a block of nothing else.
    mapped = (isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped) or ip
    if isinstance(network, ipaddress.IPv6Network) and (base := network.network_address.ipv4_mapped):
        network = ipaddress.ip_network((base, network.prefixlen - 96)) if network.prefixlen >= 96 else network
    return mapped in network
