"""Checks of AuthorizationPolicy, besides those that its strict model makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.api.authorization_rules import Operation, Rule, Source
from agent.api.security import AuthorizationPolicy
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, said, warning
from agent.api.validation.selectors import of_selector

# An external authorizer is asked before tokens and identities are looked at.
_NOT_WITH_CUSTOM: Final = {
    "namespaces": "namespaces",
    "not_namespaces": "notNamespaces",
    "service_accounts": "serviceAccounts",
    "not_service_accounts": "notServiceAccounts",
    "trust_domains": "trustDomains",
    "not_trust_domains": "notTrustDomains",
    "principals": "principals",
    "not_principals": "notPrincipals",
    "request_principals": "requestPrincipals",
    "not_request_principals": "notRequestPrincipals",
}
_KEYS_NOT_WITH_CUSTOM: Final = (
    "source.namespace",
    "source.serviceAccount",
    "source.trustDomain",
    "source.principal",
    "request.auth.",
)
# Of a source, what a TCP connection shows too; trust domains are read of requests only.
_ON_CONNECTIONS: Final = ("principals", "ip_blocks", "namespaces", "remote_ip_blocks", "service_accounts")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9-._~%!$&'()+,;:@=]+")  # RFC 3986, 3.3, without the operator *
_TEMPLATE: Final = "segments, {*} for one of them, and {**} at most once, after all {*}, for any number"
_ONLY_HTTP: Final = (
    "has attributes of HTTP only, so that it denies every TCP connection to the selected ports; "
    "name the ports that it is for"
)


def applies_to(policy: AuthorizationPolicy) -> Iterator[Remark]:
    spec = policy.spec
    yield from of_selector(spec.selector, is_written="selector" in spec.model_fields_set)
    if spec.action in ("DENY", "CUSTOM") and not spec.rules:
        yield error(
            f"missing; without rules action {spec.action} never happens, and [{{}}] is every request", "spec", "rules"
        )


def rules(policy: AuthorizationPolicy) -> Iterator[Remark]:
    for number, rule in enumerate(policy.spec.rules):
        path = ("spec", "rules", number)
        if policy.spec.action == "CUSTOM":
            yield from _custom(rule, path)
        if policy.spec.action == "DENY" and _knows_requests_only(rule):
            yield warning(_ONLY_HTTP, *path)
        for position, to in enumerate(rule.to):
            yield from _paths(to.operation, (*path, "to", position, "operation"))
        for position, condition in enumerate(rule.when):
            yield from _key(condition.key, (*path, "when", position, "key"))
        for position, origin in enumerate(rule.from_):
            yield from _trust_domains(origin.source, (*path, "from", position, "source"))


def _custom(rule: Rule, path: Path) -> Iterator[Remark]:
    for position, origin in enumerate(rule.from_):
        for attribute, field in _NOT_WITH_CUSTOM.items():
            if getattr(origin.source, attribute):
                yield error("not accepted with action CUSTOM", *path, "from", position, "source", field)
    for position, condition in enumerate(rule.when):
        if condition.key.startswith(_KEYS_NOT_WITH_CUSTOM):
            told = said(condition.key, "another attribute with action CUSTOM")
            yield error(told, *path, "when", position, "key")


def _knows_requests_only(rule: Rule) -> bool:
    """Whether nothing in it can be told of a connection; a destination's port would do."""
    if rule.to:
        return not any(to.operation.ports or to.operation.not_ports for to in rule.to)
    return bool(rule.from_) and not any(_is_told_of_connections(origin.source) for origin in rule.from_)


def _is_told_of_connections(source: Source) -> bool:
    return any(getattr(source, name) or getattr(source, f"not_{name}") for name in _ON_CONNECTIONS)


def _paths(operation: Operation, path: Path) -> Iterator[Remark]:
    for field, paths in (("paths", operation.paths), ("notPaths", operation.not_paths)):
        for number, written in enumerate(paths):
            if not _is_template(written):
                yield error(said(written, _TEMPLATE), *path, field, number)


def _is_template(path: str) -> bool:
    """Whether braces stand only where they are operators, and nothing follows the one for the rest but texts."""
    if "{" not in path and "}" not in path:
        return True
    segments = path.strip("/").split("/")
    operators = [segment for segment in segments if segment in ("{*}", "{**}")]
    others = [segment for segment in segments if segment not in ("{*}", "{**}")]
    return "{**}" not in operators[:-1] and all(_SEGMENT.fullmatch(segment) for segment in others)


def _key(key: str, path: Path) -> Iterator[Remark]:
    name, bracket, rest = key.partition("[")
    takes_argument = name.startswith(("request.headers", "request.auth.claims", "experimental.envoy.filters"))
    if takes_argument and not (bracket and len(rest) > 1 and rest.endswith("]")):
        yield error(said(key, "an attribute with its argument, such as request.headers[x-user]"), *path)


def _trust_domains(source: Source, path: Path) -> Iterator[Remark]:
    for field, domains in (("trustDomains", source.trust_domains), ("notTrustDomains", source.not_trust_domains)):
        for number, domain in enumerate(domains):
            if "/" in domain:
                yield error(said(domain, "a trust domain, without a path"), *path, field, number)
