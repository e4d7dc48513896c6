"""Nodes whose agent is killed again and again, is away, or comes up while the API server is away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from agent.lab.session import until
from agent.node import cgroups
from agent.wire import HBONE_PORT, REDIRECTION_ANNOTATION
from tests.support.installation import Installation
from tests.support.lab_pods import READY, WEB, Corner, corner, pod, shell, template
from tests.support.lab_world import LabWorld

CLIENT = "client"
# As WEB, with a queue for all that come while a busy machine lets it wait.
SERVER = """
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200), self.end_headers(), self.wfile.write(b"web\\n")
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 4096
Server(("", 8080), Page).serve_forever()
"""
KILLS = 8
PATIENCE = 120.0  # an agent compiles its programs when it starts, here again and again
# Says what it hears as soon as it runs, and goes on.
CALLER = "while true; do curl -s --max-time 5 http://web.{namespace}/; sleep 0.2; done"


@pytest.fixture(scope="module")
def mesh(world: LabWorld) -> Installation:
    installation = Installation(world)
    installation.apply()
    return installation


@pytest.fixture
def here(mesh: Installation) -> Iterator[Corner]:
    """A namespace in the mesh: a client on node-1, and on node-2 a page, at the Service `web`."""
    with corner(mesh.world) as found:
        found.kubectl("label", "namespace", found.name, "istio.io/dataplane-mode=ambient")
        port = {"name": "http", "port": 80, "targetPort": "http"}
        service = {"selector": {"app": "web"}, "ports": [port]}
        found.put(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service},
            pod("web", {**WEB, "command": ["python3", "-c", SERVER]}, nodeName="node-2"),
            pod(CLIENT, shell("exec sleep infinity"), nodeName="node-1"),
        )
        found.wait(READY, "pods", "--all")
        found.until_it_says("web", CLIENT, "curl", "-s", f"http://web.{found.name}/")
        yield found


def agent_of(mesh: Installation, node: str) -> dict[str, Any]:
    """The pod of a node's agent."""
    (found,) = (pod for pod in mesh.pods("app=weft-node") if pod["spec"].get("nodeName") == node)
    return found


def processes_of(pod: dict[str, Any]) -> list[int]:
    return list(cgroups.processes_of(pod["metadata"]["uid"], cgroups.find_mount().path))


def end(processes: list[int]) -> None:
    """Without a warning."""
    for number in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def is_agent_ready(mesh: Installation, node: str) -> bool:
    statuses = agent_of(mesh, node)["status"].get("containerStatuses", [])
    return [status["ready"] for status in statuses] == [True]


def callers(here: Corner, replicas: int) -> dict[str, Any]:
    script = CALLER.format(namespace=here.name)
    found = template("caller", shell(script), nodeSelector={"kubernetes.io/hostname": "node-1"})
    spec = {**found, "replicas": replicas}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "caller"}, "spec": spec}


@pytest.mark.timeout(300)
def test_an_agent_that_is_killed_again_and_again_loses_no_pod_and_lets_none_out(
    mesh: Installation, here: Corner
) -> None:
    with mesh.load(f"{here.name}/{CLIENT}", f"web.{here.name}") as seen, mesh.wire() as wire:
        for number in range(KILLS):
            here.put(callers(here, 6 if number % 2 else 2))
            end(processes_of(agent_of(mesh, "node-1")))
            # A kubelet waits longer and longer before it starts a container again; the DaemonSet's next pod comes now.
            name = agent_of(mesh, "node-1")["metadata"]["name"]
            mesh.kubectl("delete", "pod", name, "--grace-period=0", "--force")
            until("another one is there", lambda name=name: is_another(mesh, name), timeout=PATIENCE, pause=0.2)
        until("the agent is ready", lambda: is_agent_ready(mesh, "node-1"), timeout=PATIENCE, pause=0.2)
        here.kubectl("rollout", "status", "deployment/caller", "--timeout=50s")
        until("every pod is enrolled", lambda: all(mesh.is_enrolled(here.name)), timeout=PATIENCE, pause=0.2)
        for each in here.pods("caller"):
            log = ("logs", each["metadata"]["name"], "--tail=1")
            until("it has been answered", lambda log=log: here.kubectl(*log).strip() == "web", pause=0.2)
    assert (seen.failures, seen.made > 300) == ((), True)
    assert HBONE_PORT in wire.ports()
    assert not wire.carries("GET / HTTP")


def is_another(mesh: Installation, name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(agent_of(mesh, "node-1")["metadata"]["name"] != name)
    return False


@contextlib.contextmanager
def no_agent(mesh: Installation, node: str) -> Iterator[None]:
    """The DaemonSet has none there, and will again after the block."""
    away = json.dumps({"spec": {"template": {"spec": {"affinity": without(node)}}}})
    back = json.dumps({"spec": {"template": {"spec": {"affinity": None}}}})
    mesh.kubectl("patch", "daemonset", "weft-node", "--type=merge", f"--patch={away}")
    try:
        until("the agent is away", lambda: node not in nodes_of_agents(mesh), timeout=PATIENCE, pause=0.2)
        yield
    finally:
        mesh.kubectl("patch", "daemonset", "weft-node", "--type=merge", f"--patch={back}")
        mesh.await_rollout("daemonset/weft-node")


def without(node: str) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [node]}
    terms = [{"matchExpressions": [expression]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def nodes_of_agents(mesh: Installation) -> set[str]:
    return {pod["spec"].get("nodeName", "") for pod in mesh.pods("app=weft-node")}


@pytest.mark.timeout(300)
def test_while_an_agent_is_away_running_pods_go_on_and_new_ones_wait_and_say_why(
    mesh: Installation, here: Corner
) -> None:
    with mesh.load(f"{here.name}/{CLIENT}", f"web.{here.name}") as seen, mesh.wire() as wire:
        with no_agent(mesh, "node-1"):
            here.put(pod("late", shell(CALLER.format(namespace=here.name)), nodeName="node-1"))
            here.until_event("late", "FailedCreatePodSandBox", "no node agent listens there")
            assert here.get("pod", "late")["status"]["phase"] == "Pending"
        here.wait(READY, "pod/late")
        until("it is answered", lambda: here.kubectl("logs", "late").startswith("web"), timeout=PATIENCE, pause=0.2)
        found = here.get("pod", "late")
        assert found["metadata"]["annotations"][REDIRECTION_ANNOTATION] == "enabled"
    assert (seen.failures, seen.made > 300) == ((), True)
    assert not wire.carries("GET / HTTP")


@pytest.mark.timeout(300)
def test_an_agent_that_comes_up_while_the_api_server_is_away_disturbs_nobody(mesh: Installation, here: Corner) -> None:
    server, probe = mesh.world.plane.programs["kube-apiserver"]
    log = (
        mesh.world.lab.folder
        / "logs"
        / "pods"
        / f"istio-system_{agent_of(mesh, 'node-1')['metadata']['name']}_node.log"
    )
    with mesh.load(f"{here.name}/{CLIENT}", f"web.{here.name}") as seen, mesh.wire() as wire:
        processes = processes_of(agent_of(mesh, "node-1"))
        server.kill()
        try:
            end(processes)
            heard = len(log.read_text())
            until("the next one cannot ask", lambda: "API server" in log.read_text()[heard:], timeout=PATIENCE)
        finally:
            server.start_again()
            server.await_ready(probe)
        here.put(pod("late", shell(CALLER.format(namespace=here.name)), nodeName="node-1"))
        here.wait(READY, "pod/late")
        until("the agent is ready", lambda: is_agent_ready(mesh, "node-1"), timeout=PATIENCE, pause=0.2)
        until("every pod is enrolled", lambda: all(mesh.is_enrolled(here.name)), timeout=PATIENCE, pause=0.2)
    assert (seen.failures, seen.made > 300) == ((), True)
    assert not wire.carries("GET / HTTP")


@pytest.mark.timeout(300)
def test_a_mesh_that_is_removed_while_pods_are_in_it_lets_them_go_and_leaves_nothing(
    mesh: Installation, here: Corner
) -> None:
    mesh.remove()
    assert [mesh.left_on(node) for node in ("node-1", "node-2")] == [[], []]
    with mesh.wire() as wire:
        here.until_it_says("web", CLIENT, "curl", "-s", "--max-time", "5", f"http://web.{here.name}/")
    assert wire.carries("GET / HTTP")
    here.put(pod("late", shell("exec sleep infinity"), nodeName="node-1"))
    here.wait(READY, "pod/late")
