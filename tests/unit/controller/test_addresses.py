import logging

import pytest

from agent import kube
from agent.controller.addresses import Addresses
from agent.controller.cluster import ClusterState
from agent.controller.resources import Catalogue, Resource
from agent.wire import ADDRESS_TYPE
from tests.support.objects import Object, a_node, a_pod, a_service

WEB = "Kubernetes//Pod/shop/web-1"
SERVICE = "shop/web.shop.svc.cluster.local"


class World:
    """A cluster and the catalogue that follows from it; remembers which names each change altered."""

    def __init__(self) -> None:
        self.state = ClusterState("state")
        self.catalogue = Catalogue(ADDRESS_TYPE)
        self.altered: frozenset[str] = frozenset()
        self.addresses = Addresses(self.state, self._publish, cluster="Kubernetes", trust_domain="cluster.local")

    def put(self, kind: kube.Kind, given: Object) -> frozenset[str]:
        return self._apply(kube.Change(kube.ChangeType.MODIFIED, kind, given))

    def delete(self, kind: kube.Kind, given: Object) -> frozenset[str]:
        return self._apply(kube.Change(kube.ChangeType.DELETED, kind, given))

    def names(self) -> set[str]:
        return set(self.catalogue.resources)

    def _apply(self, change: kube.Change) -> frozenset[str]:
        self.altered = frozenset()
        self.addresses.update(self.state.apply(change))
        return self.altered

    def _publish(self, type_url: str, changed: list[Resource], removed: list[str]) -> None:
        assert type_url == ADDRESS_TYPE
        self.altered = frozenset(self.catalogue.update(changed, removed))


@pytest.fixture
def world() -> World:
    return World()


def test_a_pod_is_published_once_it_has_an_address_and_until_it_has_finished(world: World) -> None:
    assert world.put(kube.POD, a_pod(ip="")) == frozenset()
    assert world.put(kube.POD, a_pod()) == {WEB}
    assert world.put(kube.POD, a_pod(phase="Succeeded")) == {WEB}
    assert world.names() == set()


def test_the_same_content_again_is_no_change(world: World) -> None:
    world.put(kube.POD, a_pod())
    assert world.put(kube.POD, a_pod()) == frozenset()


def test_a_new_service_touches_only_what_it_selects(world: World) -> None:
    world.put(kube.POD, a_pod())
    world.put(kube.POD, a_pod("db-1", ip="10.0.0.8", labels={"app": "db"}))
    assert world.put(kube.SERVICE, a_service()) == {SERVICE, WEB}


def test_a_changed_selector_touches_old_and_new_endpoints(world: World) -> None:
    world.put(kube.POD, a_pod())
    world.put(kube.POD, a_pod("db-1", ip="10.0.0.8", labels={"app": "db"}))
    world.put(kube.SERVICE, a_service())
    assert world.put(kube.SERVICE, a_service(selector={"app": "db"})) == {WEB, "Kubernetes//Pod/shop/db-1"}
    assert world.delete(kube.SERVICE, a_service(selector={"app": "db"})) == {SERVICE, "Kubernetes//Pod/shop/db-1"}


def test_a_service_that_becomes_an_alias_is_withdrawn(world: World) -> None:
    world.put(kube.POD, a_pod())
    world.put(kube.SERVICE, a_service())
    world.put(kube.SERVICE, a_service(type="ExternalName"))
    assert world.names() == {WEB}


def test_a_node_that_moves_touches_its_pods_and_its_heartbeat_none(world: World) -> None:
    world.put(kube.POD, a_pod())
    world.put(kube.POD, a_pod("web-2", ip="10.0.0.8", node="node-2"))
    labels = {"topology.kubernetes.io/zone": "eu-1"}
    assert world.put(kube.NODE, a_node(labels=labels)) == {WEB}
    assert world.put(kube.NODE, {**a_node(labels=labels), "status": {}}) == frozenset()


def test_two_pods_with_one_address_are_both_published_and_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.put(kube.POD, a_pod())
    world.put(kube.POD, a_pod("thief", namespace="bank"))
    assert world.names() == {WEB, "Kubernetes//Pod/bank/thief"}
    problem = "address 10.0.0.7 is claimed by pods shop/web-1, bank/thief"
    assert world.addresses.problems() == [problem]
    assert [vars(record)["reason"] for record in caplog.records] == [problem]
    world.delete(kube.POD, a_pod("thief", namespace="bank"))
    assert world.addresses.problems() == []


def test_host_network_pods_share_the_hosts_address_without_a_problem(world: World) -> None:
    world.put(kube.POD, a_pod("a", host_network=True))
    world.put(kube.POD, a_pod("b", host_network=True))
    assert world.addresses.problems() == []
    assert world.catalogue.lookup("/10.0.0.7") == set()


def test_the_last_good_state_of_a_broken_object_stays(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put(kube.POD, a_pod())
    broken = a_pod(labels={"istio.io/dataplane-mode": "on"})
    assert world.put(kube.POD, broken) == frozenset()
    assert world.put(kube.POD, broken) == frozenset()
    assert world.names() == {WEB}
    (problem,) = world.state.problems.values()
    assert problem.startswith("state/pods/shop_web-1.json: Pod shop/web-1: metadata.labels:")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    world.put(kube.POD, a_pod())
    assert world.state.problems == {}


def test_a_broken_object_that_is_deleted_is_no_problem_any_more(world: World) -> None:
    broken = a_service(ips=("nonsense",))
    world.put(kube.SERVICE, broken)
    assert len(world.state.problems) == 1
    world.delete(kube.SERVICE, broken)
    assert world.state.problems == {}


def test_things_can_be_looked_up_by_every_name_they_go_by(world: World) -> None:
    world.put(kube.POD, a_pod(ip=("10.0.0.7", "fd00::7")))
    world.put(kube.SERVICE, a_service())
    assert world.catalogue.lookup(WEB) == {WEB}
    assert world.catalogue.lookup("/10.0.0.7") == {WEB}
    assert world.catalogue.lookup("/fd00::7") == {WEB}
    assert world.catalogue.lookup("/10.96.0.1") == {SERVICE, WEB}
    assert world.catalogue.lookup(SERVICE) == {SERVICE, WEB}
    assert world.catalogue.lookup("/10.0.0.9") == set()
