"""Which policy follows from PeerAuthentications."""

from __future__ import annotations

import pytest

from agent import kube
from agent.api.kubernetes import parse
from agent.api.security import PeerAuthentication
from agent.controller import peers
from agent.controller.cluster import ClusterState
from agent.proto import authorization_pb2 as pb
from tests.support.objects import Object, a_peer, a_pod

STRICT = "istio-system/istio_converted_static_strict"
OWN = "shop/converted_peer_authentication_web"
NOBODY = pb.Match(not_principals=[pb.StringMatch(presence={})])
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def mesh(mode: str | None, created: str = EARLY, name: str = "mesh") -> Object:
    return a_peer(name, "istio-system", mode, created=created)


def namespace(mode: str | None, created: str = EARLY, name: str = "default") -> Object:
    return a_peer(name, "shop", mode, created=created)


def workload(mode: str | None, ports: dict[str, str] | None = None, created: str = EARLY, name: str = "web") -> Object:
    return a_peer(name, "shop", mode, app="web", ports=ports, created=created)


def state_of(*given: Object) -> ClusterState:
    state = ClusterState("state")
    for each in (a_pod(), a_pod("elsewhere", "bank")):
        state.apply(kube.Change(kube.ChangeType.ADDED, kube.POD, each))
    for each in given:
        state.apply(kube.Change(kube.ChangeType.ADDED, kube.PEER_AUTHENTICATION, each))
    return state


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ([], []),
        ([mesh("STRICT")], [STRICT]),
        ([mesh("PERMISSIVE")], []),
        ([mesh("DISABLE")], []),
        ([mesh("UNSET")], []),
        ([mesh(None)], []),
        ([namespace("STRICT")], [STRICT]),
        ([workload("STRICT")], [STRICT]),
        ([a_peer("x", "bank", "STRICT")], []),
        ([a_peer("x", "shop", "STRICT", app="db")], []),
        # The narrower scope decides, in both directions; UNSET leaves it to the wider one.
        ([mesh("STRICT"), namespace("PERMISSIVE")], []),
        ([mesh("STRICT"), namespace("DISABLE")], []),
        ([mesh("STRICT"), namespace("UNSET")], [STRICT]),
        ([mesh("PERMISSIVE"), namespace("STRICT")], [STRICT]),
        ([mesh("STRICT"), namespace("STRICT"), workload("PERMISSIVE")], []),
        ([mesh("STRICT"), namespace("STRICT"), workload("DISABLE")], []),
        ([namespace("STRICT"), workload(None)], [STRICT]),
        ([mesh("STRICT"), namespace("PERMISSIVE"), workload("UNSET")], []),
        ([mesh("STRICT"), namespace("UNSET"), workload("UNSET")], [STRICT]),
        ([mesh("PERMISSIVE"), namespace("PERMISSIVE"), workload("STRICT")], [STRICT]),
        # Within a scope the oldest decides, and of two of one second the first by name.
        ([mesh("PERMISSIVE", LATE, "b"), mesh("STRICT", EARLY, "a")], [STRICT]),
        ([mesh("STRICT", LATE, "a"), mesh("PERMISSIVE", EARLY, "b")], []),
        ([namespace("STRICT", EARLY, "b"), namespace("PERMISSIVE", LATE, "a")], [STRICT]),
        ([namespace("STRICT", EARLY, "b"), namespace("PERMISSIVE", EARLY, "a")], []),
        ([workload("PERMISSIVE", None, EARLY, "b"), workload("STRICT", None, LATE, "a")], []),
        # A selector in the root namespace does not reach other namespaces.
        ([a_peer("x", "istio-system", "STRICT", app="web")], []),
        # Only ports that differ need a policy of their own.
        ([workload("PERMISSIVE", {"80": "STRICT"})], [OWN]),
        ([workload("STRICT", {"80": "PERMISSIVE"})], [OWN]),
        ([workload("STRICT", {"80": "DISABLE"})], [OWN]),
        ([workload("STRICT", {"80": "STRICT"})], [STRICT]),
        ([workload("STRICT", {"80": "UNSET"})], [STRICT]),
        ([workload("PERMISSIVE", {"80": "PERMISSIVE", "81": "DISABLE"})], []),
        ([mesh("STRICT"), workload(None, {"80": "STRICT"})], [STRICT]),
        ([mesh("STRICT"), workload(None, {"80": "PERMISSIVE"})], [OWN]),
        ([workload(None, {"80": "STRICT"})], [OWN]),
    ],
)
def test_the_policy_that_a_workload_lists(given: list[Object], listed: list[str]) -> None:
    state = state_of(*given)
    assert state.listed_policies(state.candidates["shop", "web-1"].pod) == listed


@pytest.mark.parametrize(
    ("mode", "is_strict", "ports", "all_of"),
    [
        (None, False, {}, None),
        ("STRICT", False, {"80": "STRICT"}, None),
        ("PERMISSIVE", True, {"80": "DISABLE"}, None),
        ("STRICT", False, {"80": "PERMISSIVE"}, [NOBODY, pb.Match(not_destination_ports=[80])]),
        ("STRICT", False, {"81": "DISABLE", "80": "PERMISSIVE"}, [NOBODY, pb.Match(not_destination_ports=[80, 81])]),
        (None, True, {"80": "PERMISSIVE"}, [NOBODY, pb.Match(not_destination_ports=[80])]),
        (
            "PERMISSIVE",
            True,
            {"81": "STRICT", "80": "STRICT", "82": "UNSET"},
            [pb.Match(not_principals=NOBODY.not_principals, destination_ports=[80, 81])],
        ),
    ],
)
def test_ports_that_differ_become_a_denial_of_who_has_no_identity(
    mode: str | None, is_strict: bool, ports: dict[str, str], all_of: list[pb.Match] | None
) -> None:
    peer = parse(workload(mode, ports), "f")
    assert isinstance(peer, PeerAuthentication)
    expected = None
    if all_of is not None:
        expected = pb.Authorization(
            name="converted_peer_authentication_web",
            namespace="shop",
            scope=pb.WORKLOAD_SELECTOR,
            action=pb.DENY,
            rules=[pb.Rule(clauses=[pb.Clause(matches=[match]) for match in all_of])],
        )
    assert peers.convert(peer, is_strict) == expected


def test_the_shared_policy_denies_who_has_no_identity() -> None:
    assert peers.static_strict() == pb.Authorization(
        name="istio_converted_static_strict",
        namespace="istio-system",
        scope=pb.WORKLOAD_SELECTOR,
        action=pb.DENY,
        rules=[pb.Rule(clauses=[pb.Clause(matches=[NOBODY])])],
    )
