import re
from typing import Any

from agent import kube
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.overview import policy_rows
from agent.controller.resources import Catalogue, Resource
from agent.kube import AUTHORIZATION_POLICY, PEER_AUTHENTICATION
from agent.wire import AUTHORIZATION_TYPE
from tests.support.objects import Object, a_peer, a_policy

APP = {"matchLabels": {"app": "web"}}
STRICT = "istio-system/istio_converted_static_strict"


def rows(*objects: tuple[kube.Kind, Object]) -> list[dict[str, Any]]:
    state, catalogue = ClusterState("state"), Catalogue(AUTHORIZATION_TYPE)

    def publish(_: str, changed: list[Resource], removed: list[str]) -> None:
        catalogue.update(changed, removed)

    authorizations = Authorizations(state, publish)
    for kind, given in objects:
        authorizations.update(state.apply(kube.Change(kube.ChangeType.ADDED, kind, given)))
    return policy_rows(state, authorizations.shortfalls, catalogue.resources)


def scopes(*objects: tuple[kube.Kind, Object]) -> list[str]:
    return [found["scope"] for found in rows(*objects)]


def test_a_policy_is_shown_with_the_resource_and_version_that_proxies_get() -> None:
    (found,) = rows((AUTHORIZATION_POLICY, a_policy("allow", selector=APP)))
    version = found.pop("version")
    assert isinstance(version, str) and re.fullmatch("[0-9a-f]{16}-narrow", version)
    assert found == {
        "kind": "AuthorizationPolicy",
        "namespace": "shop",
        "name": "allow",
        "action": "ALLOW",
        "scope": "workloads",
        "dry_run": False,
        "shortfalls": [],
        "resource": "shop/allow",
    }


def test_the_scope_is_workloads_a_namespace_or_the_mesh() -> None:
    assert scopes((AUTHORIZATION_POLICY, a_policy("a", selector=APP)), (AUTHORIZATION_POLICY, a_policy("b"))) == [
        "workloads",
        "namespace",
    ]
    assert scopes((AUTHORIZATION_POLICY, a_policy("c", "istio-system"))) == ["mesh"]
    assert scopes((PEER_AUTHENTICATION, a_peer(mode="STRICT", app="web"))) == ["workloads"]
    assert scopes((PEER_AUTHENTICATION, a_peer("default", "istio-system", "STRICT"))) == ["mesh"]


def test_what_is_not_enforced_as_written_says_why_and_what_is_not_sent_has_no_resource() -> None:
    (found,) = rows((AUTHORIZATION_POLICY, a_policy("audit", action="AUDIT")))
    assert (found["resource"], found["version"]) == (None, None)
    assert found["shortfalls"] == ["spec.action: AUDIT is not carried out by node proxies"]


def test_peer_authentications_are_shown_with_the_policy_that_they_become() -> None:
    strict, permissive = a_peer("strict", mode="STRICT"), a_peer("loose", mode="PERMISSIVE", app="db")
    ports = a_peer("ports", mode="PERMISSIVE", app="web", ports={"80": "STRICT"})
    found = {
        each["name"]: each for each in rows(*((PEER_AUTHENTICATION, each) for each in (strict, permissive, ports)))
    }
    assert found["strict"]["resource"] == STRICT and found["strict"]["version"]
    assert (found["loose"]["resource"], found["loose"]["action"]) == (None, "PERMISSIVE")
    assert found["ports"]["resource"] == "shop/converted_peer_authentication_ports" and found["ports"]["version"]
