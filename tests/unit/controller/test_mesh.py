"""What the mesh's ConfigMap does to what is published: discovery selectors, the root namespace, revisions."""

from __future__ import annotations

import pytest

from agent import kube
from agent.controller.addresses import Addresses
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import NOTHING, ClusterState, Touched
from agent.controller.mesh import Mesh
from agent.controller.resources import Catalogue, Resource
from agent.errors import InvalidObjectError
from agent.kube import AUTHORIZATION_POLICY, NAMESPACE, PEER_AUTHENTICATION, POD, SERVICE, SYSTEM_CONFIG_MAP, ChangeType
from agent.proto import authorization_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.objects import Object, a_mesh_config, a_namespace, a_peer, a_pod, a_policy, a_service
from tests.unit.controller.test_authorizations import World as Published

SELECTING = "discoverySelectors: [{matchLabels: {mesh: mine}}]"
REDIRECTED = {"ambient.istio.io/redirection": "enabled"}
WEB, BANK = "Kubernetes//Pod/shop/web-1", "Kubernetes//Pod/bank/web-1"
SERVICE_NAME = "shop/web.shop.svc.cluster.local"
CONFIG_MAP = "state/configmaps/istio-system_istio.json"


class World:
    """A cluster, and the names of what is published of it."""

    def __init__(self, mesh: Mesh = Mesh()) -> None:  # noqa: B008  # frozen
        self.state = ClusterState("state", mesh)
        self.catalogues = {url: Catalogue(url) for url in (ADDRESS_TYPE, AUTHORIZATION_TYPE)}
        self.authorizations = Authorizations(self.state, self._publish)
        self.addresses = Addresses(self.state, self._publish, cluster="Kubernetes", trust_domain="cluster.local")

    def put(self, kind: kube.Kind, given: Object, type: ChangeType = ChangeType.MODIFIED) -> Touched:
        touched = self.state.apply(kube.Change(type, kind, given))
        self.authorizations.update(touched)
        self.addresses.update(touched)
        return touched

    def configure(self, text: str) -> Touched:
        return self.put(SYSTEM_CONFIG_MAP, a_mesh_config(text))

    def names(self) -> set[str]:
        return {name for catalogue in self.catalogues.values() for name in catalogue.resources}

    def _publish(self, type_url: str, changed: list[Resource], removed: list[str]) -> None:
        self.catalogues[type_url].update(changed, removed)


def a_world(**annotations: str) -> World:
    world = World()
    world.put(NAMESPACE, a_namespace("shop"))
    world.put(NAMESPACE, a_namespace("bank", mesh="mine"))
    world.put(SERVICE, a_service())
    world.put(POD, a_pod(annotations=annotations))
    world.put(POD, a_pod(namespace="bank", ip="10.0.0.9"))
    world.put(AUTHORIZATION_POLICY, a_policy())
    world.put(PEER_AUTHENTICATION, a_peer(mode="STRICT", app="web", ports={"80": "PERMISSIVE"}))
    return world


def of_shop(world: World) -> set[str]:
    return {name for name in world.names() if name.startswith("shop/") or name == WEB}


def test_a_namespace_that_no_selector_chooses_is_not_published() -> None:
    world = a_world()
    everything = world.names()
    assert {WEB, BANK, SERVICE_NAME, "shop/allow"} < everything
    world.configure(SELECTING)
    assert of_shop(world) == set()
    assert BANK in world.names()
    world.put(NAMESPACE, a_namespace("shop", mesh="mine"))
    assert world.names() == everything
    world.put(NAMESPACE, a_namespace("shop"))
    assert of_shop(world) == set()
    world.put(SYSTEM_CONFIG_MAP, a_mesh_config(SELECTING), ChangeType.DELETED)
    assert world.names() == everything


def test_what_comes_to_a_namespace_outside_stays_outside() -> None:
    world = World()
    world.configure(SELECTING)
    world.put(POD, a_pod())
    world.put(SERVICE, a_service())
    world.put(AUTHORIZATION_POLICY, a_policy())
    assert world.names() == set()


def test_the_selectors_of_the_start_hold_before_the_config_map_is_told() -> None:
    world = World(Mesh().configured(a_mesh_config(SELECTING)))
    world.put(POD, a_pod())
    assert world.names() == set()


def test_what_is_redirected_stays_known_until_it_is_withdrawn() -> None:
    world = a_world(**REDIRECTED)
    everything = of_shop(world)
    world.configure(SELECTING)
    assert of_shop(world) == everything
    world.put(POD, a_pod())  # without the annotation
    assert of_shop(world) == set()


def test_what_is_redirected_and_goes_takes_its_namespace_along() -> None:
    world = a_world(**REDIRECTED)
    world.configure(SELECTING)
    world.put(POD, a_pod(annotations=REDIRECTED), ChangeType.DELETED)
    assert of_shop(world) == set()


def scope(world: Published, name: str) -> int:
    return world.policies()[name].scope


def test_policies_of_the_root_namespace_are_for_all_wherever_it_is() -> None:
    world = Published()
    world.put(AUTHORIZATION_POLICY, a_policy("all", "root"))
    world.put(AUTHORIZATION_POLICY, a_policy("chosen", "root", selector={"matchLabels": {"app": "web"}}))
    world.put(AUTHORIZATION_POLICY, a_policy("old", "istio-system"))
    world.put(PEER_AUTHENTICATION, a_peer("strict", "root", mode="STRICT"))
    assert scope(world, "root/all") == authorization_pb2.NAMESPACE
    assert world.listed() == {}
    world.put(SYSTEM_CONFIG_MAP, a_mesh_config("rootNamespace: root"))
    assert scope(world, "root/all") == authorization_pb2.GLOBAL
    assert scope(world, "istio-system/old") == authorization_pb2.NAMESPACE
    strict = "istio-system/istio_converted_static_strict"
    db = "Kubernetes//Pod/shop/db-1"
    assert world.listed() == {WEB: ["root/chosen", strict], BANK: ["root/chosen", strict], db: [strict]}
    world.put(SYSTEM_CONFIG_MAP, a_mesh_config("{}"))
    assert world.listed() == {}


def test_policies_of_the_root_namespace_are_told_of_though_no_selector_chooses_it() -> None:
    world = World()
    world.put(NAMESPACE, a_namespace("istio-system"))
    world.configure(SELECTING)
    world.put(AUTHORIZATION_POLICY, a_policy("all", "istio-system"))
    assert world.names() == {"istio-system/all"}


@pytest.mark.parametrize("text", ["discoverySelectors: 5", "trustDomain: [", "rootNamespace: {}"])
def test_settings_that_cannot_be_used_leave_the_last_good_ones_in_force(text: str) -> None:
    world = a_world()
    world.configure(SELECTING)
    before = world.names()
    assert world.configure(text) == NOTHING
    assert world.names() == before
    [(where, problem)] = world.state.problems.items()
    assert where == CONFIG_MAP and problem.startswith("ConfigMap istio-system/istio: mesh: ")
    world.configure("{}")
    assert (world.state.problems, WEB in world.names()) == ({}, True)


def test_other_config_maps_say_nothing() -> None:
    world = World()
    assert world.put(SYSTEM_CONFIG_MAP, a_mesh_config(SELECTING, "istio-canary")) == NOTHING
    assert world.state.has("shop")


@pytest.mark.parametrize(
    ("label", "revision", "is_ours"),
    [
        (None, "default", True),
        ("default", "default", True),
        ("canary", "default", False),
        ("canary", "canary", True),
        (None, "canary", True),
        ("default", "canary", False),
    ],
)
def test_a_policy_that_names_another_revision_is_not_looked_at(label: str | None, revision: str, is_ours: bool) -> None:
    world = World(Mesh(revision))
    policy = a_policy()
    policy["metadata"]["labels"] = {"istio.io/rev": label} if label else {}
    world.put(AUTHORIZATION_POLICY, policy)
    assert ("shop/allow" in world.names()) is is_ours


def test_a_policy_that_goes_over_to_another_revision_is_gone() -> None:
    world = World()
    world.put(AUTHORIZATION_POLICY, a_policy())
    policy = a_policy(rules=5)
    policy["metadata"]["labels"] = {"istio.io/rev": "canary"}
    world.put(AUTHORIZATION_POLICY, policy)
    assert (world.names(), world.state.problems) == (set(), {})


def test_pods_of_another_revision_are_published_as_they_are() -> None:
    world = World()
    pod = a_pod(labels={"istio.io/rev": "canary"})
    world.put(POD, pod)
    assert world.names() == {WEB}


def test_the_trust_domain_of_the_start_is_the_config_maps_or_else_the_settings() -> None:
    assert Mesh(default_trust_domain="env").started().trust_domain == "env"
    configured = Mesh(default_trust_domain="env").configured(a_mesh_config("trustDomain: td"))
    assert configured.started().trust_domain == "td"
    assert configured.started().problems == []


def test_a_trust_domain_that_changes_later_is_a_problem_until_the_start_after() -> None:
    mesh = Mesh(default_trust_domain="env").started()
    (problem,) = mesh.configured(a_mesh_config("trustDomain: td")).problems
    assert problem.startswith("ConfigMap istio-system/istio: mesh: trustDomain: read 'td'; 'env' stays in force until")
    assert mesh.configured(a_mesh_config("rootNamespace: root")).problems == []
    assert mesh.configured(None).problems == []


def test_settings_that_cannot_be_read_are_refused_with_their_place() -> None:
    with pytest.raises(InvalidObjectError, match="ConfigMap istio-system/istio: mesh: MeshConfig: trustDomain: read 5"):
        Mesh().configured(a_mesh_config("trustDomain: 5"))


def test_what_nobody_knows_is_left_out_and_named() -> None:
    mesh = Mesh().configured(a_mesh_config("discoverySelector: []\nrootNamespace: root"))
    assert mesh.root_namespace == "root"
    (problem,) = mesh.problems
    assert problem.startswith("ConfigMap istio-system/istio: mesh: discoverySelector: ")
    assert problem.endswith("; it is left out")
