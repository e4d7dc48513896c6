"""Whatever policy is written: what node proxies make of it never lets in more than its author meant."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.api.kubernetes import parse
from agent.api.security import AuthorizationPolicy
from agent.controller.policies import convert
from tests.support.judge import Request, as_told, as_written
from tests.support.objects import Object, a_policy

_NAMES = st.sampled_from(("a", "b", "a*", "*b", "*"))
_PRINCIPALS = st.sampled_from(("td/ns/a/sa/x", "td/ns/b/sa/y", "td/ns/a/*", "*/sa/y", "*"))
_BLOCKS = st.sampled_from(("10.0.0.1", "10.0.0.0/24", "10.0.1.0/24", "0.0.0.0/0", "fd00::/8"))
_PORTS = st.sampled_from(("80", "81"))
_METHODS = st.sampled_from(("GET", "POST"))
_ACCOUNTS = st.sampled_from(("a/x", "b/y", "x"))


def _some(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(values, min_size=1, max_size=2)


def _fields(**fields: st.SearchStrategy[str]) -> st.SearchStrategy[Object]:
    """Some of the fields and of their not-forms, at least one."""
    every = {name: _some(values) for name, values in fields.items()}
    every |= {f"not{name[0].upper()}{name[1:]}": _some(values) for name, values in fields.items()}
    return st.fixed_dictionaries({}, optional=every).filter(bool)


_SOURCES = _fields(principals=_PRINCIPALS, namespaces=_NAMES, ipBlocks=_BLOCKS, requestPrincipals=_NAMES) | _fields(
    serviceAccounts=_ACCOUNTS, ipBlocks=_BLOCKS
)
_OPERATIONS = _fields(ports=_PORTS, methods=_METHODS)
_CONDITIONS = st.one_of(
    _fields(values=values).map(lambda found, key=key: {"key": key, **found})  # type: ignore[misc]
    for key, values in {
        "source.ip": _BLOCKS,
        "source.namespace": _NAMES,
        "source.principal": _PRINCIPALS,
        "destination.ip": _BLOCKS,
        "destination.port": _PORTS,
        "request.auth.principal": _NAMES,
    }.items()
)


def _entries(name: str, values: st.SearchStrategy[Object]) -> st.SearchStrategy[list[Object]]:
    return st.lists(values.map(lambda found: {name: found}), min_size=1, max_size=2)


_RULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "from": _entries("source", _SOURCES),
            "to": _entries("operation", _OPERATIONS),
            "when": st.lists(_CONDITIONS, min_size=1, max_size=2),
        },
    ),
    max_size=3,
)
_REQUESTS = [
    Request(account, source_ip, port, method, jwt)
    for account in (None, ("a", "x"), ("b", "y"), ("shop", "x"))
    for source_ip in ("10.0.0.1", "10.0.1.1", "fd00::1")
    for port in (80, 81, 82)
    for method in ("GET", "POST")
    for jwt in ("", "a")
]


def _holds(action: str, rules: list[Object], **more: Any) -> list[tuple[bool, bool]]:
    """For every request: whether the policy holds as written, and as told."""
    policy = parse(a_policy(action=action, rules=rules, **more), "f")
    assert isinstance(policy, AuthorizationPolicy)
    outcome = convert(policy)
    assert outcome.policy is not None
    found = [(as_written(policy, request), as_told(outcome.policy, request)) for request in _REQUESTS]
    assert outcome.shortfalls or all(written == told for written, told in found)
    return found


@given(_RULES)
def test_the_conversion_never_widens_an_allow(rules: list[Object]) -> None:
    assert all(written or not told for written, told in _holds("ALLOW", rules))


@given(_RULES)
def test_the_conversion_never_narrows_a_deny(rules: list[Object]) -> None:
    assert all(told or not written for written, told in _holds("DENY", rules))


@given(_RULES)
def test_a_policy_that_is_opted_out_never_refuses_more_than_its_author_meant(rules: list[Object]) -> None:
    annotations = {"weft.io/unenforceable": "allow"}
    assert all(told or not written for written, told in _holds("ALLOW", rules, annotations=annotations))
    assert all(written or not told for written, told in _holds("DENY", rules, annotations=annotations))
