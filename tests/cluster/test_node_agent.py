"""The node agent on a real API server: a label there redirects a pod here, and the pod says so there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import ControlPlane, write_kubeconfig
from tests.support.cluster_mesh import SYSTEM, a_pod, get, put, report
from tests.support.node_world import NodeWorld, PodWorld, eventually, node_world
from tests.support.relay import Place, relay

AGENT_POD = "weft-node-agent"


@pytest.fixture
def world(plane: ControlPlane) -> Iterator[NodeWorld]:
    """A node whose host reaches the API server."""
    server = urlsplit(plane.url)
    assert server.hostname and server.port
    with node_world() as made:
        there = Place(server.hostname, server.port)
        with relay(Place(server.hostname, server.port, made.host), there):
            yield made


@pytest.fixture
def kubeconfig(plane: ControlPlane, mesh: None, tmp_path: Path) -> Path:
    """Of the agent of node-1, with the permissions that are shipped."""
    put(plane, a_pod(SYSTEM, AGENT_POD, account="weft-node"))
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={AGENT_POD}")
    token = plane.kubectl("create", "token", "weft-node", f"--namespace={SYSTEM}", *bound).strip()
    write_kubeconfig(tmp_path / "kubeconfig", plane.url, plane.ca, {"token": token})
    return tmp_path / "kubeconfig"


def started(plane: ControlPlane, world: NodeWorld, namespace: str, name: str) -> PodWorld:
    """A pod of node-1 that runs."""
    pod = a_pod(namespace, name)
    put(plane, pod)
    sandbox = world.add_sandbox(get(plane, "pod", name, f"--namespace={namespace}")["metadata"]["uid"])
    world.fill(sandbox)
    report(plane, pod, sandbox.addresses[0])
    return sandbox


def test_a_label_of_a_namespace_redirects_its_pods_until_it_is_taken_off(
    plane: ControlPlane, world: NodeWorld, kubeconfig: Path, namespace: str
) -> None:
    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")

    def annotation() -> str | None:
        metadata = get(plane, "pod", "web", f"--namespace={namespace}")["metadata"]
        return str(metadata.get("annotations", {}).get("ambient.istio.io/redirection", "none"))

    started(plane, world, namespace, "web")
    agent = world.start_agent("node-1", KUBECONFIG=str(kubeconfig))
    world.start_proxy()
    plane.kubectl("label", "namespace", namespace, "istio.io/dataplane-mode=ambient")
    eventually(lambda: annotation() == "enabled")
    assert world.entries() == 1
    plane.kubectl("label", "namespace", namespace, "istio.io/dataplane-mode-")
    eventually(lambda: annotation() == "none")
    eventually(lambda: world.entries() == 0)
    plane.kubectl("label", "namespace", namespace, "istio.io/dataplane-mode=ambient")
    eventually(lambda: annotation() == "enabled")
    plane.kubectl("delete", "pod", "web", f"--namespace={namespace}", "--force", "--grace-period=0")
    eventually(lambda: world.entries() == 0)
    assert world.resident_mebibytes(agent) < 90
    assert agent.end() == 0


def test_a_namespace_joins_and_leaves_with_the_meshs_settings_and_its_revision(
    plane: ControlPlane, world: NodeWorld, kubeconfig: Path, namespace: str
) -> None:
    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")
    settings = {"mesh": json.dumps({"discoverySelectors": [{"matchLabels": {"chosen-by": namespace}}]})}
    metadata = {"name": "istio", "namespace": SYSTEM}

    def is_enrolled() -> bool:
        return "ambient.istio.io/redirection" in plane.kubectl(
            "get", "pod", "web", f"--namespace={namespace}", "-oyaml"
        )

    def label(*labels: str) -> None:
        plane.kubectl("label", "namespace", namespace, "--overwrite", *labels)

    started(plane, world, namespace, "web")
    agent = world.start_agent("node-1", KUBECONFIG=str(kubeconfig))
    world.start_proxy()
    label("istio.io/dataplane-mode=ambient")
    eventually(is_enrolled)
    put(plane, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": settings})
    try:
        eventually(lambda: not is_enrolled())
        label(f"chosen-by={namespace}")
        eventually(is_enrolled)
        label("istio.io/rev=canary")
        eventually(lambda: not is_enrolled())
        eventually(lambda: world.entries() == 0)
        assert world.resident_mebibytes(agent) < 95
    finally:
        plane.kubectl("delete", "configmap", "istio", f"--namespace={SYSTEM}")
