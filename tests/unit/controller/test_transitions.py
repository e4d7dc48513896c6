"""While a policy changes its reach, no proxy is told anything between the old state and the new one that neither is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from prometheus_client import CollectorRegistry

from agent import kube
from agent.controller.addresses import Addresses
from agent.controller.auth import Caller
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.discovery import Discovery
from agent.controller.xds import Session
from agent.kube import AUTHORIZATION_POLICY, PEER_AUTHENTICATION, POD
from agent.metrics import ControllerMetrics
from agent.proto import authorization_pb2, workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.judge import Request, verdict
from tests.support.objects import Object, a_peer, a_pod, a_policy

TYPES = (AUTHORIZATION_TYPE, ADDRESS_TYPE)
WEB = {"matchLabels": {"app": "web"}}
DB = {"matchLabels": {"app": "db"}}
FRONT = [{"from": [{"source": {"principals": ["td/ns/shop/sa/front"]}}]}]
BACK = [{"from": [{"source": {"principals": ["td/ns/shop/sa/back"]}}]}]
MONITOR = [{"from": [{"source": {"principals": ["td/ns/shop/sa/monitor"]}}]}]
ACCOUNTS = (None, ("shop", "front"), ("shop", "back"), ("shop", "monitor"))
CALLERS = [Request(account, "10.0.0.1", 80) for account in ACCOUNTS]
PODS = [
    a_pod(),
    a_pod("db-1", ip="10.0.0.8", labels={"app": "db"}),
    a_pod(namespace="bank", ip="10.0.0.9"),
]
Admitted = frozenset[tuple[str, int]]  # workload and number of the caller


@dataclass
class Node:
    """A node proxy that does as it is told, at once, and remembers whom it would have let in after each response."""

    session: Session
    policies: dict[str, authorization_pb2.Authorization] = field(default_factory=dict)
    workloads: dict[str, workload_pb2.Workload] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=lambda: {type_url: {} for type_url in TYPES})
    moments: list[Admitted] = field(default_factory=list)
    refuses_workloads: bool = False

    def ask(self, type_url: str) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url, initial_resource_versions=self.versions[type_url]
        )
        request.node.metadata.update({"WEFT_VERSION": "1"})
        self.session.receive(request)

    def listen(self) -> None:
        """Hears everything and answers to all of it afterwards, as a proxy may."""
        while heard := self.hear():
            self.acknowledge(heard)

    def hear(self) -> list[discovery_pb2.DeltaDiscoveryResponse]:
        heard = []
        while (answer := self.session.next_response()) is not None:
            heard.append(discovery_pb2.DeltaDiscoveryResponse.FromString(answer[1]))
            self._take(heard[-1])
            self.moments.append(self.admitted())
        return heard

    def acknowledge(self, heard: list[discovery_pb2.DeltaDiscoveryResponse]) -> None:
        for each in heard:
            answer = discovery_pb2.DeltaDiscoveryRequest(type_url=each.type_url, response_nonce=each.nonce)
            if self._refuses(each):
                answer.error_detail.message = "not today"
            self.session.receive(answer)

    def admitted(self) -> Admitted:
        return frozenset(
            (uid, number)
            for uid, workload in self.workloads.items()
            for number, caller in enumerate(CALLERS)
            if verdict(workload.namespace, workload.authorization_policies, self.policies, caller).allowed
        )

    def _refuses(self, response: discovery_pb2.DeltaDiscoveryResponse) -> bool:
        return self.refuses_workloads and response.type_url == ADDRESS_TYPE

    def _take(self, response: discovery_pb2.DeltaDiscoveryResponse) -> None:
        if self._refuses(response):
            return
        for name in response.removed_resources:
            self.versions[response.type_url].pop(name, None)
            self.policies.pop(name, None)
            self.workloads.pop(name, None)
        for one in response.resources:
            self.versions[response.type_url][one.name] = one.version
            if response.type_url == AUTHORIZATION_TYPE:
                self.policies[one.name] = authorization_pb2.Authorization.FromString(one.resource.value)
            else:
                self.workloads[one.name] = workload_pb2.Address.FromString(one.resource.value).workload


class World:
    """A controller with three pods, and one node proxy."""

    def __init__(self) -> None:
        self.state = ClusterState("state")
        self.discovery = Discovery(ControllerMetrics(CollectorRegistry()))
        publish = self.discovery.publish
        self.authorizations = Authorizations(self.state, publish)
        self.addresses = Addresses(self.state, publish, cluster="Kubernetes", trust_domain="td")
        for pod in PODS:
            self.put(POD, pod)
        self.discovery.complete()
        self.node = Node(self._session())
        self._ask_again()

    def put(self, kind: kube.Kind, given: Object) -> None:
        self._apply(kube.Change(kube.ChangeType.MODIFIED, kind, given))

    def delete(self, kind: kube.Kind, given: Object) -> None:
        self._apply(kube.Change(kube.ChangeType.DELETED, kind, given))

    def reconnect(self) -> None:
        """The proxy comes back with what it holds; each of its requests may be answered before the next one comes."""
        self.discovery.sessions.clear()
        self.node.session = self._session()
        self._ask_again()

    def _ask_again(self) -> None:
        self.node.ask(AUTHORIZATION_TYPE)
        heard = self.node.hear()
        self.node.ask(ADDRESS_TYPE)
        self.node.acknowledge(heard)
        self.node.listen()

    def _session(self) -> Session:
        session = Session(Caller("istio-system", "weft-proxy", node="node-1"), self.discovery.catalogues)
        self.discovery.sessions.add(session)
        return session

    def _apply(self, change: kube.Change) -> None:
        touched = self.state.apply(change)
        self.authorizations.update(touched)
        self.addresses.update(touched)


def of(action: str, selector: Object | None, namespace: str = "shop", rules: list[Object] = FRONT) -> Object:
    more: Object = {"selector": selector} if selector else {}
    return a_policy(namespace=namespace, action=action, rules=rules, **more)


TRANSITIONS = {
    "namespace to selector": ("shop", None, WEB),
    "mesh to selector": ("istio-system", None, WEB),
    "selector to namespace": ("shop", WEB, None),
    "selector to mesh": ("istio-system", WEB, None),
    "selector to another one": ("shop", WEB, DB),
}


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(("namespace", "old", "new"), TRANSITIONS.values(), ids=TRANSITIONS)
def test_a_policy_that_changes_its_reach_opens_and_closes_nothing_else(
    namespace: str, old: Object | None, new: Object | None, is_connected: bool, action: str
) -> None:
    world = World()
    world.put(AUTHORIZATION_POLICY, of(action, old, namespace))
    world.node.listen()
    _check(world, lambda: world.put(AUTHORIZATION_POLICY, of(action, new, namespace)), is_connected=is_connected)


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(("namespace", "old", "new"), TRANSITIONS.values(), ids=TRANSITIONS)
@pytest.mark.parametrize("others", [[], MONITOR])
def test_a_policy_that_changes_its_reach_and_its_rules_at_once_judges_nobody_by_a_mixture(
    namespace: str, old: Object | None, new: Object | None, is_connected: bool, action: str, others: list[Object]
) -> None:
    world = World()
    if others:
        world.put(AUTHORIZATION_POLICY, a_policy("monitor", rules=others))
    world.put(AUTHORIZATION_POLICY, of(action, old, namespace))
    world.node.listen()
    changed = of(action, new, namespace, BACK)
    _check(world, lambda: world.put(AUTHORIZATION_POLICY, changed), is_connected=is_connected)


def test_a_policy_does_not_narrow_to_a_workload_that_the_proxy_has_refused() -> None:
    world = World()
    world.put(AUTHORIZATION_POLICY, of("DENY", None))
    world.node.listen()
    before = world.node.admitted()
    world.node.refuses_workloads = True
    world.put(AUTHORIZATION_POLICY, of("DENY", WEB))
    world.node.listen()
    assert world.node.admitted() == before
    assert len(world.node.moments) > 1
    world.node.refuses_workloads = False
    world.put(POD, a_pod(labels={"app": "web", "version": "2"}))
    world.node.listen()
    front = 1
    assert {uid for uid, number in world.node.admitted() - before if number == front} == {"Kubernetes//Pod/shop/db-1"}


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize("selector", [WEB, None])
def test_a_policy_that_comes_or_goes_opens_and_closes_nothing_else(
    selector: Object | None, is_connected: bool, action: str
) -> None:
    world = World()
    policy = of(action, selector)
    _check(world, lambda: world.put(AUTHORIZATION_POLICY, policy), is_connected=is_connected)
    _check(world, lambda: world.delete(AUTHORIZATION_POLICY, policy), is_connected=is_connected)


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_peer_authentication_that_comes_changes_or_goes_does_neither(is_connected: bool) -> None:
    world = World()
    mesh, own = (
        a_peer("mesh", "istio-system", "STRICT"),
        a_peer("web", app="web", ports={"80": "PERMISSIVE", "81": "STRICT"}),
    )
    for change in (
        lambda: world.put(PEER_AUTHENTICATION, mesh),
        lambda: world.put(PEER_AUTHENTICATION, own),
        lambda: world.delete(PEER_AUTHENTICATION, mesh),
        lambda: world.delete(PEER_AUTHENTICATION, own),
    ):
        _check(world, change, is_connected=is_connected)


def test_a_policy_that_narrows_again_and_again_is_followed_each_time() -> None:
    world = World()
    for turn in range(4):
        selector = WEB if turn % 2 else None
        _check(world, functools.partial(world.put, AUTHORIZATION_POLICY, of("DENY", selector)))


def _check(world: World, change: Callable[[], None], *, is_connected: bool = True) -> None:
    """At every moment of the change, who is let in before and after is, and who is neither is not."""
    before = world.node.admitted()
    world.node.moments.clear()
    change()
    if is_connected:
        world.node.listen()
    else:
        world.reconnect()
    after = world.node.admitted()
    assert world.node.moments
    for moment in world.node.moments:
        assert before & after <= moment <= before | after
