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


def test_the_problem_of_an_object_that_makes_no_sense_names_file_object_and_field() -> None:
    state = ClusterState("state")
    put(state, AUTHORIZATION_POLICY, a_policy(rules=WRONG))
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


def test_a_policy_that_never_was_good_denies_all_that_it_is_for() -> None:
    state = ClusterState("state")
    touched = put(state, AUTHORIZATION_POLICY, a_policy(rules=WRONG))
    instead = state.policies["shop", "allow"].spec
    assert (instead.action, [rule.from_ for rule in instead.rules]) == ("DENY", [()])
    assert touched.policies == {("shop", "allow")}
    assert not state.has_good_version(AUTHORIZATION_POLICY, ("shop", "allow"))
    put(state, AUTHORIZATION_POLICY, a_policy(rules=RULES))
    assert state.policies["shop", "allow"].spec.action == "ALLOW"
    assert state.has_good_version(AUTHORIZATION_POLICY, ("shop", "allow"))


def test_a_policy_that_never_was_good_reaches_no_further_than_its_selector_if_that_can_be_read() -> None:
    state = ClusterState("state")
    chosen = {"matchLabels": {"app": "web"}}
    for selector, reach in ((chosen, chosen["matchLabels"]), ({"matchLabels": {"app": "*"}}, {})):
        put(state, AUTHORIZATION_POLICY, {**a_policy(), "spec": {"selector": selector, "rules": WRONG}})
        assert state.policies["shop", "allow"].spec.selector.match_labels == reach


@pytest.mark.parametrize("annotation", ["weft.io/unenforceable", "istio.io/dry-run"])
def test_a_policy_that_is_not_to_be_enforced_is_not_stood_in_for(annotation: str) -> None:
    state = ClusterState("state")
    given = a_policy(rules=WRONG)
    value = {"weft.io/unenforceable": "allow", "istio.io/dry-run": "true"}[annotation]
    put(state, AUTHORIZATION_POLICY, {**given, "metadata": {**given["metadata"], "annotations": {annotation: value}}})
    assert state.policies == {}


def test_a_peer_authentication_that_never_was_good_asks_for_an_identity() -> None:
    state = ClusterState("state")
    put(state, PEER_AUTHENTICATION, a_peer(mode="STRIKT"))
    assert state.peers["shop", "default"].spec.mtls.mode == "STRICT"
    assert state.is_strict_by_default("shop")


def test_a_pod_that_cannot_be_used_is_kept_out() -> None:
    state = ClusterState("state")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"}, "spec": 5}
    assert put(state, POD, pod) == NOTHING
