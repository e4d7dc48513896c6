"""A change recomputes what it touches, and workloads list exactly the policies that are sent."""

from __future__ import annotations

import logging

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from agent import kube
from agent.controller.addresses import Addresses
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.resources import Catalogue, Resource
from agent.kube import AUTHORIZATION_POLICY, PEER_AUTHENTICATION, POD, SERVICE
from agent.proto import authorization_pb2, workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.objects import Object, a_peer, a_pod, a_policy, a_service

WEB, DB, BANK = "Kubernetes//Pod/shop/web-1", "Kubernetes//Pod/shop/db-1", "Kubernetes//Pod/bank/web-1"
STRICT = "istio-system/istio_converted_static_strict"
APP = {"matchLabels": {"app": "web"}}
GET = [{"to": [{"operation": {"methods": ["GET"]}}]}]


class World:
    """Three pods, and all that is published; remembers what each change altered, in order."""

    def __init__(self) -> None:
        self.state = ClusterState("state")
        self.catalogues = {url: Catalogue(url) for url in (ADDRESS_TYPE, AUTHORIZATION_TYPE)}
        self.altered: list[frozenset[str]] = []
        self.authorizations = Authorizations(self.state, self._publish)
        self.addresses = Addresses(self.state, self._publish, cluster="Kubernetes", trust_domain="cluster.local")
        self.put(POD, a_pod())
        self.put(POD, a_pod("db-1", ip="10.0.0.8", labels={"app": "db"}))
        self.put(POD, a_pod(namespace="bank", ip="10.0.0.9"))

    def put(self, kind: kube.Kind, given: Object) -> list[frozenset[str]]:
        return self._apply(kube.Change(kube.ChangeType.MODIFIED, kind, given))

    def delete(self, kind: kube.Kind, given: Object) -> list[frozenset[str]]:
        return self._apply(kube.Change(kube.ChangeType.DELETED, kind, given))

    def listed(self) -> dict[str, list[str]]:
        """The policies that each workload names; all of them must be known."""
        found = {}
        for name, published in self.catalogues[ADDRESS_TYPE].resources.items():
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(published.encoded)
            address = workload_pb2.Address.FromString(response.resources[0].resource.value)
            found[name] = list(address.workload.authorization_policies)
            assert set(found[name]) <= set(self.catalogues[AUTHORIZATION_TYPE].resources)
        return {name: names for name, names in found.items() if names}

    def policies(self) -> dict[str, authorization_pb2.Authorization]:
        found = {}
        for name, published in self.catalogues[AUTHORIZATION_TYPE].resources.items():
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(published.encoded)
            found[name] = authorization_pb2.Authorization.FromString(response.resources[0].resource.value)
        return found

    def _apply(self, change: kube.Change) -> list[frozenset[str]]:
        self.altered = []
        touched = self.state.apply(change)
        self.authorizations.update(touched)
        self.addresses.update(touched)
        return self.altered

    def _publish(self, type_url: str, changed: list[Resource], removed: list[str]) -> None:
        if altered := frozenset(self.catalogues[type_url].update(changed, removed)):
            self.altered.append(altered)


@pytest.fixture
def world() -> World:
    return World()


def test_a_policy_with_a_selector_is_published_before_the_workloads_that_list_it(world: World) -> None:
    assert world.put(AUTHORIZATION_POLICY, a_policy(selector=APP)) == [{"shop/allow"}, {WEB}]
    assert world.listed() == {WEB: ["shop/allow"]}


def test_a_policy_of_the_root_namespace_selects_in_every_namespace(world: World) -> None:
    altered = world.put(AUTHORIZATION_POLICY, a_policy(namespace="istio-system", selector=APP))
    assert altered == [{"istio-system/allow"}, {WEB, BANK}]


@pytest.mark.parametrize("namespace", ["shop", "istio-system"])
def test_a_policy_without_a_selector_touches_no_workload(world: World, namespace: str) -> None:
    assert world.put(AUTHORIZATION_POLICY, a_policy(namespace=namespace)) == [{f"{namespace}/allow"}]


def test_a_changed_selector_touches_old_and_new_pods_and_a_removal_the_last(world: World) -> None:
    world.put(AUTHORIZATION_POLICY, a_policy(selector=APP))
    changed = a_policy(selector={"matchLabels": {"app": "db"}})
    assert world.put(AUTHORIZATION_POLICY, changed) == [{WEB, DB}]
    assert world.delete(AUTHORIZATION_POLICY, changed) == [{"shop/allow"}, {DB}]
    assert world.listed() == {}


def test_a_changed_rule_touches_no_workload_and_a_status_nothing(world: World) -> None:
    world.put(AUTHORIZATION_POLICY, a_policy(selector=APP))
    changed = a_policy(selector=APP, rules=[{}])
    assert world.put(AUTHORIZATION_POLICY, changed) == [{"shop/allow"}]
    assert world.put(AUTHORIZATION_POLICY, {**changed, "status": {"conditions": []}}) == []


def test_a_pod_lists_policies_by_the_labels_that_it_has_now(world: World) -> None:
    world.put(AUTHORIZATION_POLICY, a_policy(selector=APP))
    assert world.put(POD, a_pod(labels={"app": "other"})) == [{WEB}]
    assert world.listed() == {}


def test_the_endpoints_of_a_target_list_its_policy_as_they_come_and_go(world: World) -> None:
    policy = a_policy(targetRefs=[{"kind": "Service", "name": "web"}])
    assert world.put(AUTHORIZATION_POLICY, policy) == [{"shop/allow"}]
    world.put(SERVICE, a_service())
    assert world.listed() == {WEB: ["shop/allow"]}
    world.put(SERVICE, a_service(selector={"app": "db"}))
    assert world.listed() == {DB: ["shop/allow"]}
    world.delete(SERVICE, a_service(selector={"app": "db"}))
    assert world.listed() == {}


@pytest.mark.parametrize(
    "given",
    [
        a_policy(selector=APP, action="AUDIT"),
        a_policy(
            selector=APP,
            action="CUSTOM",
            provider={"name": "x"},
            rules=[{}],
            annotations={"weft.io/unenforceable": "allow"},
        ),
    ],
)
def test_a_policy_that_is_not_sent_is_not_listed(world: World, given: Object) -> None:
    assert world.put(AUTHORIZATION_POLICY, given) == []
    assert world.listed() == {}
    assert len(world.authorizations.problems()) == 1


def test_a_shortfall_is_a_problem_until_it_is_mended_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    problem = (
        "AuthorizationPolicy shop/allow: spec.rules[0]: to[0].operation.methods: "
        "only a waypoint can tell, so the rule allows nothing"
    )
    world.put(AUTHORIZATION_POLICY, a_policy(rules=GET))
    world.put(AUTHORIZATION_POLICY, a_policy(rules=GET, selector=APP))
    assert world.authorizations.problems() == [problem]
    assert [(record.levelno, vars(record)["reason"]) for record in caplog.records] == [(logging.WARNING, problem)]
    world.put(AUTHORIZATION_POLICY, a_policy(rules=[{}]))
    assert world.authorizations.problems() == []


def test_the_last_good_state_of_a_broken_policy_stays(world: World) -> None:
    world.put(AUTHORIZATION_POLICY, a_policy(selector=APP, rules=[{}]))
    before = world.policies()
    assert world.put(AUTHORIZATION_POLICY, a_policy(selector=APP, rule=[])) == []
    assert world.policies() == before
    (problem,) = world.state.problems.values()
    assert problem == (
        "state/authorizationpolicies/shop_allow.json: AuthorizationPolicy shop/allow: spec.rule: unknown field"
    )


def test_strict_in_a_namespace_touches_its_pods_and_shares_one_policy(world: World) -> None:
    assert world.put(PEER_AUTHENTICATION, a_peer(mode="STRICT")) == [{STRICT}, {WEB, DB}]
    assert world.put(PEER_AUTHENTICATION, a_peer("other", "bank", "STRICT")) == [{BANK}]
    world.delete(PEER_AUTHENTICATION, a_peer("other", "bank", "STRICT"))
    assert world.delete(PEER_AUTHENTICATION, a_peer(mode="STRICT")) == [{STRICT}, {WEB, DB}]
    assert world.policies() == {}


def test_strict_in_the_mesh_touches_only_who_has_no_other_say(world: World) -> None:
    world.put(PEER_AUTHENTICATION, a_peer(mode="PERMISSIVE"))
    assert world.put(PEER_AUTHENTICATION, a_peer("mesh", "istio-system", "STRICT")) == [{STRICT}, {BANK}]


def test_a_policy_of_ports_follows_what_its_object_inherits(world: World) -> None:
    own = "shop/converted_peer_authentication_web"
    peer = a_peer("web", app="web", ports={"80": "STRICT", "81": "PERMISSIVE"})
    assert world.put(PEER_AUTHENTICATION, peer) == [{own}, {WEB}]
    assert world.policies()[own].rules[0].clauses[0].matches[0].destination_ports == [80]
    assert world.put(PEER_AUTHENTICATION, a_peer("mesh", "istio-system", "STRICT")) == [{own, STRICT}, {DB, BANK}]
    assert world.policies()[own].rules[0].clauses[1].matches[0].not_destination_ports == [81]
    assert world.listed() == {WEB: [own], DB: [STRICT], BANK: [STRICT]}
