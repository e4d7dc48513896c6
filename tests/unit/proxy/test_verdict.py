"""The engine's verdicts against plain evaluation: any policies, any workload, any connection."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest
from google.protobuf.empty_pb2 import Empty
from hypothesis import given, settings
from hypothesis import strategies as st

from agent._engine import Engine
from agent.proto import authorization_pb2 as pb
from agent.proto import workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.judge import Request, Verdict, is_understood, verdict

UID = "Kubernetes//Pod/a/web"
ADDRESSES = ("10.9.9.9", "fd00::9:9")
EXAMPLES = 250
ENOUGH = 5
Policies = dict[str, pb.Authorization]
T = TypeVar("T")

_NAMESPACES = ("a", "a", "b", "root")
_ACCOUNTS = tuple((namespace, name) for namespace in ("a", "b") for name in ("x", "y"))
_PRINCIPALS = tuple(f"td/ns/{namespace}/sa/{name}" for namespace, name in _ACCOUNTS)
_CLIENTS = ("10.0.0.1", "10.0.1.1", "::ffff:10.0.0.1", "fd00::1", "2001:db8::1")
_PORTS = (80, 81, 8080)


def _text(texts: tuple[str, ...]) -> st.SearchStrategy[pb.StringMatch]:
    text = st.sampled_from(texts)
    exact = text.map(lambda found: pb.StringMatch(exact=found))
    prefix = text.map(lambda found: pb.StringMatch(prefix=found[: len(found) // 2]))
    suffix = text.map(lambda found: pb.StringMatch(suffix=found[len(found) // 2 :]))
    presence = st.just(pb.StringMatch(presence=Empty()))
    return exact | exact | prefix | suffix | presence


def _block(block: str) -> pb.Address:
    address, _, length = block.partition("/")
    return pb.Address(address=ipaddress.ip_address(address).packed, length=int(length))


_BLOCKS = st.sampled_from(
    [
        *map(_block, ("10.0.0.1/32", "10.0.0.7/24", "10.0.0.0/8", "0.0.0.0/0", "10.9.9.9/32", "192.0.2.0/24")),
        *map(_block, ("fd00::1/128", "fd00::/8", "::/0", "::ffff:10.0.0.0/104", "::ffff:0:0/90", "fd00::9:9/128")),
    ]
)
_SERVICE_ACCOUNTS = st.sampled_from([pb.ServiceAccountMatch(namespace=n, serviceAccount=a) for n, a in _ACCOUNTS])
_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "principals": _text(_PRINCIPALS),
    "namespaces": _text(("a", "b")),
    "service_accounts": _SERVICE_ACCOUNTS,
    "source_ips": _BLOCKS,
    "destination_ips": _BLOCKS,
    "destination_ports": st.sampled_from(_PORTS),
}
_ALL_FIELDS = _FIELDS | {f"not_{name}": values for name, values in _FIELDS.items()}
_NOBODY = pb.Match(not_principals=[pb.StringMatch(presence=Empty())])  # what STRICT consists of


@st.composite
def _matches(draw: st.DrawFn) -> pb.Match:
    """Mostly of one field: more of them hardly ever hold together."""
    if draw(st.integers(0, 9)) == 0:
        return _NOBODY
    names = _some(draw, st.sampled_from(sorted(_ALL_FIELDS)), (0, 1, 1, 1, 2))
    return pb.Match(**{name: _some(draw, _ALL_FIELDS[name], (1, 2, 2)) for name in names})  # type: ignore[arg-type]


def _some(draw: st.DrawFn, values: st.SearchStrategy[T], sizes: tuple[int, ...]) -> list[T]:
    """As many as one of the sizes says: hypothesis's own lists are mostly empty, which decides nothing."""
    return [draw(values) for _ in range(draw(st.sampled_from(sizes)))]


@st.composite
def _rules(draw: st.DrawFn) -> pb.Rule:
    sizes = (0, 1, 1, 1, 2, 2)
    return pb.Rule(
        clauses=[pb.Clause(matches=_some(draw, _matches(), sizes)) for _ in range(draw(st.sampled_from(sizes)))]
    )


@st.composite
def _policies(draw: st.DrawFn) -> Policies:
    found = {}
    for namespace, name in _some(
        draw, st.tuples(st.sampled_from(_NAMESPACES), st.sampled_from("pqr")), (0, 2, 3, 3, 4)
    ):
        is_readable = draw(st.sampled_from([True] * 12 + [False]))
        found[f"{namespace}/{name}"] = pb.Authorization(
            name=name,
            namespace=namespace,
            scope=draw(st.sampled_from([pb.GLOBAL, pb.NAMESPACE, pb.WORKLOAD_SELECTOR])),
            action=draw(st.sampled_from([pb.ALLOW, pb.ALLOW, pb.DENY])) if is_readable else 9,  # type: ignore[arg-type]
            rules=_some(draw, _rules(), (0, 1, 1, 2, 3)),
            dry_run=draw(st.sampled_from([True] + [False] * 5)),
        )
    return found


@dataclass(frozen=True)
class Mesh:
    """A workload, and the policies of two moments."""

    before: Policies
    after: Policies
    listed: list[str]
    requests: list[Request]

    @property
    def in_force(self) -> Policies:
        """A change that cannot be read leaves the last good policy in force."""
        kept = {n: p for n, p in self.before.items() if n in self.after and not is_understood(self.after[n])}
        return self.after | {name: policy for name, policy in kept.items() if is_understood(policy)}


@st.composite
def _meshes(draw: st.DrawFn) -> Mesh:
    before, after = draw(_policies()), draw(_policies())
    selected = [name for name, policy in after.items() if policy.scope == pb.WORKLOAD_SELECTOR]
    listed = [name for name in selected if draw(st.sampled_from([True, True, False]))]
    strays = _some(draw, st.sampled_from(["root/p", "b/q", "a/none"]), (0, 0, 0, 0, 0, 1))
    requests = st.builds(
        Request,
        st.none() | st.sampled_from(_ACCOUNTS),
        st.sampled_from(_CLIENTS),
        st.sampled_from(_PORTS),
        destination=st.sampled_from(ADDRESSES),
    )
    return Mesh(before, after, listed + strays, _some(draw, requests, (6,)))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    found = Engine(1)
    yield found
    found.close()


def bring_in(engine: Engine, mesh: Mesh) -> None:
    """The engine comes from whatever it had before; nobody tells it to forget the rest by hand."""
    held = {f"{one['namespace']}/{one['name']}" for one in json.loads(engine.config_dump())["policies"]}
    for policies in (mesh.before, mesh.after):
        changed = [(name, policy.SerializeToString()) for name, policy in policies.items()]
        # What was there of an earlier mesh goes first: its last good state is none of this one's.
        gone = held if policies is mesh.before else mesh.before.keys() - policies.keys()
        engine.apply(AUTHORIZATION_TYPE, changed, sorted(gone))
        workload = workload_pb2.Workload(
            uid=UID,
            name="web",
            namespace="a",
            addresses=[ipaddress.ip_address(address).packed for address in ADDRESSES],
            authorization_policies=mesh.listed,
        )
        address = workload_pb2.Address(workload=workload)
        assert engine.apply(ADDRESS_TYPE, [(UID, address.SerializeToString())], []) == []


def found(engine: Engine, request: Request) -> Verdict:
    address = f"[{request.destination}]" if ":" in request.destination else request.destination
    source = None if request.principal is None else f"spiffe://{request.principal}"
    answer = json.loads(engine.explain_arrival(f"{address}:{request.port}", source=source, source_ip=request.source_ip))
    assert answer["workload"] == UID
    return Verdict(answer["allowed"], answer["policy"], answer["rule"])


def branch(mesh: Mesh, expected: Verdict) -> str:
    """What of the rules of evaluation the verdict came by."""
    policy = mesh.in_force.get(expected.policy or "")
    match expected:
        case Verdict(True, None):
            return "allowed as no policy allows"
        case Verdict(False, None):
            return "refused as none allowed"
        case Verdict(False, _, None):
            return "not known" if policy is None else "not understood"
    assert policy is not None
    action = "allowed" if expected.allowed else "denied"
    clauses = [clause for clause in policy.rules[expected.rule or 0].clauses if clause.matches]
    return f"{action} by {pb.Scope.Name(policy.scope)}" if clauses else f"{action} by an empty rule"


def fields(mesh: Mesh, expected: Verdict) -> set[str]:
    """What the rule that decided asks for."""
    if expected.policy is None or expected.rule is None:
        return set()
    rule = mesh.in_force[expected.policy].rules[expected.rule]
    matches = [match for clause in rule.clauses for match in clause.matches]
    found = {descriptor.name for match in matches for descriptor, _ in match.ListFields()}
    return found | ({"nobody"} if _NOBODY in matches else set())


def test_the_engine_judges_as_plain_evaluation_does(engine: Engine) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
    @given(_meshes())
    def compare(mesh: Mesh) -> None:
        bring_in(engine, mesh)
        for request in mesh.requests:
            expected = verdict("a", mesh.listed, mesh.in_force, request)
            assert found(engine, request) == expected
            seen.update([branch(mesh, expected), *fields(mesh, expected)])
            seen["over a dry run"] += any(policy.dry_run for policy in mesh.in_force.values())

    compare()
    scopes = ("GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR")
    expected = {f"{action} by {scope}" for action in ("allowed", "denied") for scope in scopes}
    expected |= {"allowed by an empty rule", "denied by an empty rule", "not known", "not understood"}
    expected |= {"allowed as no policy allows", "refused as none allowed", "over a dry run"}
    expected |= {*_ALL_FIELDS, "nobody"}
    assert {name for name, count in seen.items() if count >= ENOUGH} == expected, seen
