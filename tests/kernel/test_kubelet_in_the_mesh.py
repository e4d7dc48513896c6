"""Pods that nobody may call are ready all the same: their kubelet's probes pass, and leave no trace at the proxy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.lab import cgroups, commands
from agent.lab.layout import Layout
from agent.lab.session import until
from agent.wire import DATAPLANE_MODE_LABEL, DEBUG_PORT, METRICS_PORT
from tests.support.mesh import Mesh
from tests.support.rules import known_policies

SPACE = "closed"
FILE = "closed.yaml"
PROBES = {
    "http": {"httpGet": {"path": "/", "port": "web"}},
    "tcp": {"tcpSocket": {"port": 8080}},
    "exec": {"exec": {"command": ["true"]}},
}
POLICIES = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": {DATAPLANE_MODE_LABEL: "ambient"}}},
    {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": SPACE},
        "spec": {"mtls": {"mode": "STRICT"}},
    },
    {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "nobody", "namespace": SPACE},
        "spec": {},
    },
]
SERVER = ["python3", "-m", "http.server", "8080", "--directory", "/tmp", "--bind", "::"]


def a_pod(name: str, probe: object) -> object:
    timing = {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1}
    server = {"name": "server", "command": SERVER, "ports": [{"name": "web", "containerPort": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"nodeName": "node-2", "containers": [{**server, "readinessProbe": {**probe, **timing}}]},  # type: ignore[dict-item]
    }


@pytest.fixture(scope="module")
def closed(mesh: Mesh) -> Iterator[Mesh]:
    """A namespace that refuses all, and in it pods that were started after its policies were in force."""
    pods = [a_pod(name, probe) for name, probe in PROBES.items()]
    try:
        mesh.write(FILE, "\n---\n".join(map(json.dumps, POLICIES)))
        until("the proxy refuses all", lambda: f"{SPACE}/nobody" in known_policies(mesh, "node-2"))
        mesh.write(FILE, "\n---\n".join(map(json.dumps, [*POLICIES, *pods])))
        until("they are enrolled", lambda: [pod["enrolled"] for pod in mesh.pods(SPACE)] == [True] * len(pods))
        yield mesh
    finally:
        (mesh.manifests / FILE).unlink(missing_ok=True)
        until("all is gone", lambda: not mesh.pods(SPACE) and f"{SPACE}/nobody" not in known_policies(mesh, "node-2"))
        mesh.known.clear()


def probed(mesh: Mesh) -> float:
    """Connections of the kubelet that went to an app."""
    name = 'weft_redirection_events_total{event="probed"} '
    lines = mesh.scrape("node-2", DEBUG_PORT, "/metrics").splitlines()
    return float(next(line.removeprefix(name) for line in lines if line.startswith(name)))


def traces(mesh: Mesh) -> list[str]:
    """What the proxy has said or counted of connections to these pods."""
    lines = [line for line in mesh.lab.log("node-2-proxy").splitlines() if f'dst.namespace="{SPACE}"' in line]
    samples = mesh.scrape("node-2", METRICS_PORT, "/metrics").splitlines()
    return lines + [line for line in samples if f'destination_workload_namespace="{SPACE}"' in line]


def from_the_node(mesh: Mesh, url: str) -> subprocess.CompletedProcess[str]:
    """curl by a process of the node, in the network namespace and with the address that its kubelet has."""
    layout = Layout(mesh.lab.name, cgroups.find_root(Path("/proc/self/mountinfo").read_text()))
    cgroup = layout.process_cgroup("node-2", "other")
    cgroups.create(cgroup)
    line = commands.in_netns(mesh.lab.netns("node-2"), cgroup, ["curl", "-sS", "-g", "--max-time", "10", url])
    return subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)


def test_pods_that_nobody_may_call_become_ready_and_stay_so_without_a_trace(closed: Mesh) -> None:
    until("they are ready", lambda: [pod["ready"] for pod in closed.pods(SPACE)] == [True] * len(PROBES))
    before = probed(closed)
    until("both kinds of calls were made several times", lambda: probed(closed) >= before + 6)
    assert [pod["ready"] for pod in closed.pods(SPACE)] == [True] * len(PROBES)
    assert traces(closed) == []


@pytest.mark.parametrize("family", [0, 1])
def test_another_process_of_the_node_is_refused(closed: Mesh, family: int) -> None:
    address = closed.pod(f"{SPACE}/http")["addresses"][family]
    done = from_the_node(closed, f"http://{f'[{address}]' if family else address}:8080/")
    assert done.returncode in (7, 52, 55, 56), done.stderr  # reset before or after curl sees it open, empty
    until("it is logged", lambda: any("access" in line and "error=" in line for line in traces(closed)))
