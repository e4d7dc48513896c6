"""What the cluster's state takes in of a watch, and what it does with what cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from agent import kube
from agent.controller.cluster import NOTHING, ClusterState, Touched
from agent.kube import AUTHORIZATION_POLICY, PEER_AUTHENTICATION, POD, ChangeType
from tests.support.objects import Object, a_peer, a_policy

FILE = "state/authorizationpolicies/shop_allow.json"
RULES = [{"to": [{"operation": {"paths": ["/a/{*}"]}}]}]
WRONG: list[dict[str, Any]] = [{"to": [{"operation": {"paths": ["/a/{*}b"]}}]}]


def put(state: ClusterState, kind: kube.Kind, given: Object) -> Touched:
    return state.apply(kube.Change(ChangeType.MODIFIED, kind, given))


def test_an_object_that_makes_no_sense_is_kept_out_and_the_problem_names_file_object_and_field() -> None:
    state = ClusterState("state")
    assert put(state, AUTHORIZATION_POLICY, a_policy(rules=WRONG)) == NOTHING
    assert state.policies == {}
    [(file, problem)] = state.problems.items()
    assert file == FILE
    field = "spec.rules[0].to[0].operation.paths[0]"
    assert problem.startswith(f"{FILE}: AuthorizationPolicy shop/allow: {field}: read '/a/{{*}}b'; accepted is ")


def test_its_last_good_version_stays_and_a_new_good_one_ends_the_problem() -> None:
    state = ClusterState("state")
    put(state, AUTHORIZATION_POLICY, a_policy(rules=RULES))
    good = state.policies["shop", "allow"]
    put(state, AUTHORIZATION_POLICY, a_policy(rules=WRONG))
    assert state.policies == {("shop", "allow"): good}
    assert list(state.problems) == [FILE]
    put(state, AUTHORIZATION_POLICY, a_policy(rules=[{}]))
    assert state.problems == {}
    assert state.policies["shop", "allow"] != good


def test_deleting_it_ends_the_problem_and_takes_the_last_good_version_away() -> None:
    state = ClusterState("state")
    put(state, AUTHORIZATION_POLICY, a_policy(rules=RULES))
    put(state, AUTHORIZATION_POLICY, a_policy(rules=WRONG))
    state.apply(kube.Change(ChangeType.DELETED, AUTHORIZATION_POLICY, a_policy(rules=WRONG)))
    assert (state.policies, state.problems) == ({}, {})


def test_every_fault_is_in_the_problem() -> None:
    state = ClusterState("state")
    put(state, POD, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"}, "spec": 5})
    put(state, AUTHORIZATION_POLICY, a_policy(rules=[*WRONG, *WRONG]))
    assert list(state.problems) == ["state/pods/shop_a.json", FILE]
    assert "spec.rules[0]" in state.problems[FILE] and "spec.rules[1]" in state.problems[FILE]


@pytest.mark.parametrize("given", [a_peer(mode="DISABLE"), {**a_peer(mode="STRICT"), "spec": {"selector": {}}}])
def test_what_is_hardly_meant_is_taken_as_it_is(given: Object) -> None:
    state = ClusterState("state")
    put(state, PEER_AUTHENTICATION, given)
    assert list(state.peers) == [("shop", "default")]
    assert state.problems == {}
