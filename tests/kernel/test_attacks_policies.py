"""Policies as somebody might write them in error or in anger: contradicting, for nobody, for thousands."""

from __future__ import annotations

import json
import time

from agent.lab.session import until
from agent.model import Identity
from agent.wire import HBONE_PORT
from tests.support.attacker import bounded, web
from tests.support.hbone import Tunnel
from tests.support.mesh import Mesh
from tests.support.rules import enforced

FRONTEND = "cluster.local/ns/shop/sa/frontend"
THOUSANDS = 20_000  # near what one object may weigh in an API server: 1.2 of 1.5 MB


def a_policy(name: str, *principals: str, action: str = "ALLOW", namespace: str = "shop", app: str = "") -> str:
    """For the pods of an app, or of the whole namespace; without principals it has no rules."""
    spec: dict[str, object] = {"action": action}
    if principals:
        spec["rules"] = [{"from": [{"source": {"principals": list(principals)}}]}]
    if app:
        spec["selector"] = {"matchLabels": {"app": app}}
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}
    )


def status(mesh: Mesh, account: str = "frontend") -> int:
    """What an account of the shop is answered when it asks for the web pod."""
    connection = mesh.connect("outside/client", web(mesh), HBONE_PORT)
    with Tunnel(connection, mesh.credentials(Identity("shop", account))) as tunnel:
        return tunnel.connect(f"{web(mesh)}:8080")[1]


def test_of_two_that_contradict_the_denial_holds(mesh: Mesh) -> None:
    allow, deny = a_policy("yes", FRONTEND), a_policy("no", FRONTEND, action="DENY")
    with enforced(mesh, allow, deny):
        assert status(mesh) == 401
        until("the log names it", lambda: "explicitly denied by: shop/no" in mesh.lab.log("node-2-proxy"))
    assert status(mesh) == 200


def test_an_allow_without_rules_or_for_nobody_that_there_is_lets_nobody_in(mesh: Mesh) -> None:
    for policy in (a_policy("empty"), a_policy("nobody", "cluster.local/ns/none/sa/none")):
        with enforced(mesh, policy):
            assert status(mesh) == 401


def test_a_policy_for_no_pod_changes_nothing(mesh: Mesh) -> None:
    with enforced(mesh, a_policy("elsewhere", app="no-such-app")):
        assert status(mesh) == 200


def test_a_policy_of_one_namespace_says_nothing_about_the_pods_of_another(mesh: Mesh) -> None:
    theirs = a_policy("all", "*", action="DENY", namespace="outside")
    selecting = a_policy("web", "*", action="DENY", namespace="outside", app="web")
    with enforced(mesh, theirs, selecting):
        assert status(mesh) == 200


def test_twenty_thousand_principals_are_enforced_to_the_last_and_slow_nobody_down(mesh: Mesh) -> None:
    crowd = [f"cluster.local/ns/crowd/sa/account-number-{number}" for number in range(THOUSANDS - 1)]
    begun = time.monotonic()
    with bounded(mesh.process("node-2-proxy"), 60), enforced(mesh, a_policy("crowd", *crowd, FRONTEND)):
        assert time.monotonic() - begun < 10
        begun = time.monotonic()
        assert [status(mesh) for _ in range(10)] == [200] * 10
        assert [status(mesh, "stranger") for _ in range(10)] == [401] * 10
        assert time.monotonic() - begun < 3
    assert status(mesh, "stranger") == 200
