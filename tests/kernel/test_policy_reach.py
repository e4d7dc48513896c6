"""A policy that changes its reach under load: nobody is let in or refused in between who should not be."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.lab.session import until
from tests.support.mesh import Mesh

FLIPS = 50
ENOUGH = 200
OUTSIDE = "outside/client"
FRONTEND = "shop/frontend"
POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: frontend-only, namespace: shop}}
spec:
{selector}  action: ALLOW
  rules: [{{from: [{{source: {{ipBlocks: ["{address}"]}}}}]}}]
"""
SELECTOR = "  selector: {matchLabels: {app: web}}\n"
SCOPES = {"": "Namespace", SELECTOR: "WorkloadSelector"}


@dataclass
class Load:
    """Connections from a pod's address to another pod, one after the other, until it is ended."""

    connect: Callable[[], bool]
    ended: threading.Event = field(default_factory=threading.Event)
    seen: Counter[bool] = field(default_factory=Counter)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.is_set():
            self.seen[self.connect()] += 1

    def end(self) -> Counter[bool]:
        self.ended.set()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()
        return self.seen


def is_let_in(mesh: Mesh, pod: str, address: str) -> bool:
    """Without a tunnel and an identity: the connection is steered to the server's proxy."""
    try:
        with mesh.connect(pod, address, 8080) as sock:  # a reset may come before connect() returns
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(sock.recv(1))
    except (ConnectionResetError, BrokenPipeError):
        return False


def in_force(mesh: Mesh, selector: str) -> bool:
    """Whether the server's proxy has the policy in this form, and its workloads name it or do not."""
    dump = json.loads(mesh.scrape("node-2", 15000, "/config_dump"))
    scopes = [policy["scope"] for policy in dump["policies"] if policy["name"] == "frontend-only"]
    naming = [one for one in dump["workloads"] if "shop/frontend-only" in one["authorizationPolicies"]]
    return scopes == [SCOPES[selector]] and bool(naming) == bool(selector)


def test_a_policy_that_narrows_and_widens_under_load_is_enforced_all_the_time(mesh: Mesh) -> None:
    pod = next(one for one in mesh.pods() if one["name"].startswith("shop/web") and one["node"] == "node-2")
    server, client = pod["addresses"][0], mesh.pod(FRONTEND)["addresses"][0]
    loads = []
    try:
        mesh.write("reach.yaml", POLICY.format(selector="", address=client))
        until("the policy is in force", lambda: in_force(mesh, ""))
        loads = [Load(lambda pod=each: is_let_in(mesh, pod, server)) for each in (FRONTEND, OUTSIDE)]  # type: ignore[misc]
        for flip in range(FLIPS):
            selector = "" if flip % 2 else SELECTOR
            mesh.write("reach.yaml", POLICY.format(selector=selector, address=client))
            until("the policy is in force", lambda selector=selector: in_force(mesh, selector), pause=0.01)  # type: ignore[misc]
        frontend, outside = (load.end() for load in loads)
    finally:
        for load in loads:
            load.end()
        (mesh.manifests / "reach.yaml").unlink()
        until("the client outside is let in", lambda: is_let_in(mesh, OUTSIDE, server))
    assert frontend[True] > ENOUGH and frontend[False] == 0, frontend
    assert outside[False] > ENOUGH and outside[True] == 0, outside
