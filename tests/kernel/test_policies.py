"""Policies from the file to the refused connection, on the shop."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

import pytest

from agent.lab.session import until
from tests.support.mesh import ROOT, Mesh

EXAMPLES = ROOT / "examples" / "policies"
OUTSIDE = "outside/client"
URL = "http://web.shop/"
ALLOW_FRONTEND = (EXAMPLES / "allow-frontend.yaml").read_text()
DENIED = "explicitly denied by: shop/deny-plain (rule 0: source.notPrincipals)"
NEAREST = (
    "allow policies exist, but none allowed (shop/allow-frontend; nearest: shop/allow-frontend rule 0: "
    "source.principals needs an identity, and the client has none)"
)
ALLOW_READ = """\
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: allow-read, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules:
  - from: [{source: {principals: ["cluster.local/ns/shop/sa/frontend"]}}]
    to: [{operation: {methods: ["GET"]}}]
"""
DENY_PLAIN = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-plain, namespace: shop}
spec:
  action: DENY
  rules: [{from: [{source: {notPrincipals: ["*"]}}]}]
"""


def lets_in(mesh: Mesh, pod: str) -> bool:
    return mesh.curl(URL, pod=pod).returncode == 0


@contextlib.contextmanager
def in_force(mesh: Mesh, text: str, name: str = "policy.yaml") -> Iterator[None]:
    """A manifest that is there while the block runs; afterwards everybody is let in again."""
    mesh.write(name, text)
    try:
        yield
    finally:
        (mesh.manifests / name).unlink()
        until("the frontend is let in", lambda: lets_in(mesh, "shop/frontend"))
        until("the client outside is let in", lambda: lets_in(mesh, OUTSIDE))


def refused_for(mesh: Mesh, reason: str) -> bool:
    return any(reason in line for line in mesh.lab.log("node-2-proxy").splitlines() if "outside" in line)


def problems(mesh: Mesh) -> list[str]:
    namespace = mesh.lab.netns("control")
    command = ["nsenter", f"--net=/run/netns/{namespace}", "curl", "-sS", "http://127.0.0.1:15014/debug/problems"]
    found: list[str] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=10).stdout)
    return found


def accepted(mesh: Mesh, policy: str) -> tuple[str, str] | None:
    """Status and reason of the condition that the controller writes."""
    file = mesh.lab.folder / "state" / "authorizationpolicies" / f"{policy}.json"
    conditions = json.loads(file.read_text()).get("status", {}).get("conditions", [])
    return next(((each["status"], each["reason"]) for each in conditions), None)


def test_a_policy_lets_in_the_frontend_and_refuses_the_client_outside(mesh: Mesh) -> None:
    assert lets_in(mesh, "shop/frontend") and lets_in(mesh, OUTSIDE)
    with in_force(mesh, ALLOW_FRONTEND):
        until("the client outside is refused", lambda: not lets_in(mesh, OUTSIDE), timeout=5)
        assert lets_in(mesh, "shop/frontend")
        until("its status says so", lambda: accepted(mesh, "shop_allow-frontend") == ("True", "Accepted"))
        until("the log says why", lambda: refused_for(mesh, NEAREST))


def test_a_denial_names_its_policy_in_the_access_log(mesh: Mesh) -> None:
    with in_force(mesh, DENY_PLAIN):
        until("the client outside is refused", lambda: not lets_in(mesh, OUTSIDE), timeout=5)
        assert lets_in(mesh, "shop/frontend")
        until(
            "the log names it",
            lambda: refused_for(mesh, DENIED),
        )


@pytest.mark.parametrize("namespace", ["shop", "istio-system"])
def test_strict_refuses_who_has_no_identity(mesh: Mesh, namespace: str) -> None:
    text = (EXAMPLES / "strict.yaml").read_text().replace("namespace: shop", f"namespace: {namespace}")
    with in_force(mesh, text):
        until("the client outside is refused", lambda: not lets_in(mesh, OUTSIDE), timeout=5)
        assert lets_in(mesh, "shop/frontend")
        until("the log names it", lambda: refused_for(mesh, "istio-system/istio_converted_static_strict"))


def test_a_policy_that_is_broken_by_an_edit_stays_in_force_as_it_was(mesh: Mesh) -> None:
    with in_force(mesh, ALLOW_FRONTEND):
        until("the client outside is refused", lambda: not lets_in(mesh, OUTSIDE), timeout=5)
        mesh.write("policy.yaml", ALLOW_FRONTEND.replace("principals", "principles"))
        until("the problem is reported", lambda: mesh.lab.status()["problems"])
        (problem,) = mesh.lab.status()["problems"]
        field = "spec.rules[0].from[0].source.principles: unknown field"
        assert problem == f"{mesh.manifests / 'policy.yaml'}:15: AuthorizationPolicy shop/allow-frontend: {field}"
        assert lets_in(mesh, "shop/frontend") and not lets_in(mesh, OUTSIDE)
    assert mesh.lab.status()["problems"] == []


def test_an_allow_rule_on_methods_allows_nothing_and_says_why(mesh: Mesh) -> None:
    with in_force(mesh, ALLOW_READ):
        until("the frontend is refused", lambda: not lets_in(mesh, "shop/frontend"), timeout=5)
        assert not lets_in(mesh, OUTSIDE)
        assert problems(mesh) == [
            "AuthorizationPolicy shop/allow-read: spec.rules[0]: to[0].operation.methods: "
            "only a waypoint can tell, so the rule allows nothing"
        ]
        until("the policy's status says so", lambda: accepted(mesh, "shop_allow-read") == ("False", "UnsupportedValue"))
    until("the problem is over", lambda: problems(mesh) == [])
