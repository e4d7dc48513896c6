"""The mesh as a user has it: installed by two commands, used, upgraded under load, and removed without a trace."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.lab import prometheus
from agent.lab.layout import FABRIC
from agent.lab.session import until
from agent.wire import HBONE_PORT
from tests.support.installation import ROOT, SYSTEM, Installation, says
from tests.support.lab_world import LabWorld

CLIENT, SERVER = "shop/frontend", "http://web.shop/"
STRICT_AND_CLOSED = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: frontend-only, namespace: shop}
spec:
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/frontend]}}]}]
"""
# As the configuration that Prometheus' own chart brings.
BY_ANNOTATIONS = [
    {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "action": "keep", "regex": "true"},
    {
        "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_path"],
        "action": "replace",
        "target_label": "__metrics_path__",
        "regex": "(.+)",
    },
    {
        "source_labels": ["__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_annotation_prometheus_io_port"],
        "action": "replace",
        "separator": ":",
        "target_label": "__address__",
    },
    {"source_labels": ["__meta_kubernetes_pod_label_app"], "target_label": "app"},
]


@pytest.fixture(scope="module")
def mesh(world: LabWorld) -> Iterator[Installation]:
    """Installed, with the shop's frontend on node-1 and its catalogue on node-2, in the mesh, and a stranger."""
    installation = Installation(world)
    installation.apply()
    kubectl = world.plane.kubectl
    for file in ("namespace", "web", "frontend", "outside"):
        kubectl("apply", "--server-side", f"--filename={ROOT}/examples/shop/{file}.yaml")
    for namespace in ("shop", "outside"):
        kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--namespace={namespace}", "--timeout=60s")
    with installation.wire() as plain:
        assert installation.answers(CLIENT, SERVER)
    assert plain.carries("catalogue")
    installation.enrol("shop")
    yield installation


def test_traffic_between_nodes_is_encrypted_once_a_namespace_is_labelled(mesh: Installation) -> None:
    with mesh.wire() as wire:
        assert "catalogue" in mesh.curl(CLIENT, SERVER).stdout
    assert not wire.carries("catalogue")
    assert wire.tls13_port() == HBONE_PORT


def test_a_policy_that_is_applied_decides_and_probes_go_on(mesh: Installation) -> None:
    mesh.world.plane.kubectl("apply", "--server-side", "--filename=-", stdin=STRICT_AND_CLOSED)
    stranger = "outside/client"
    until("a stranger is refused", lambda: not mesh.answers(stranger, SERVER))
    assert mesh.answers(CLIENT, SERVER)
    (web,) = mesh.pods("app=web", "shop")
    assert [each["status"] for each in web["status"]["conditions"] if each["type"] == "Ready"] == ["True"]
    conditions = json.loads(
        mesh.world.plane.kubectl("get", "authorizationpolicy", "frontend-only", "--namespace=shop", "--output=json")
    )["status"]["conditions"]
    assert [each["type"] for each in conditions if each["status"] == "True"] == ["ZtunnelAccepted"]


def test_prometheus_finds_every_process_by_its_annotations(mesh: Installation, tmp_path: Path) -> None:
    world, targets = mesh.world, tmp_path / "targets.json"
    targets.write_text(json.dumps([discovered(pod) for pod in mesh.pods()]))
    job = {"job_name": "pods", "file_sd_configs": [{"files": [str(targets)]}], "relabel_configs": BY_ANNOTATIONS}
    expected = {("weft-controller",): 2.0, ("weft-node",): 2.0, ("weft-proxy",): 2.0}
    with prometheus.running(world.lab.netns(FABRIC), [job]) as running:
        until("all are scraped", lambda: running.query('sum by (app) (up{app=~"weft-.*"})') == expected, timeout=30)
        opened = 'sum(istio_tcp_connections_opened_total{source_workload="frontend",destination_service_name="web"})'
        until("the traffic is counted", lambda: sum(running.query(opened).values()) > 0)


def discovered(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod as Prometheus' own discovery gives it to the rules; Debian's Prometheus is built without that."""
    labels = {"__meta_kubernetes_pod_ip": pod["status"]["podIP"]}
    for kind in ("annotation", "label"):
        for name, value in pod["metadata"][f"{kind}s"].items():
            labels[f"__meta_kubernetes_pod_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
    return {"targets": [pod["status"]["podIP"]], "labels": labels}


def weft(mesh: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent.cli.main", *words, f"--kubeconfig={mesh.world.plane.kubeconfig}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_status_and_explain_ask_the_processes_in_the_cluster(mesh: Installation) -> None:
    status = weft(mesh, "status", "--output=json")
    found: dict[str, Any] = json.loads(status.stdout)
    assert (status.returncode, found["unreachable"], found["problems"]) == (0, [], [])
    assert [(node["node"], node["agent_up"], node["proxy_up"]) for node in found["nodes"]] == [
        ("node-1", True, True),
        ("node-2", True, True),
    ]
    assert {proxy["connected"] for proxy in found["proxies"]} == {True}
    explained = weft(mesh, "explain", CLIENT, "web.shop:80")
    assert (explained.returncode, explained.stderr) == (0, "")
    described = weft(mesh, "describe", "shop/web")
    assert "spiffe://cluster.local/ns/shop/sa/backend" in described.stdout


@pytest.mark.timeout(300)
def test_node_agents_and_controllers_are_upgraded_under_load_unnoticed(mesh: Installation) -> None:
    with mesh.load(CLIENT, "web.shop") as seen, mesh.talk(CLIENT, "web.shop") as talk:
        assert says(talk) == "anew"
        for workload in ("daemonset/weft-node", "deployment/weft-controller"):
            mesh.restart(workload)
            mesh.await_rollout(workload)
            assert says(talk) == "again"
    assert seen.failures == ()
    assert seen.made > 300


@pytest.mark.timeout(300)
def test_node_proxies_are_upgraded_under_load_unnoticed(mesh: Installation) -> None:
    before = {pod["metadata"]["uid"] for pod in mesh.pods("app=weft-proxy")}
    with mesh.load(CLIENT, "web.shop") as seen:
        with mesh.talk(CLIENT, "web.shop") as talk:
            assert says(talk) == "anew"
            mesh.restart("daemonset/weft-proxy")
            until(
                "an old proxy drains beside its successor",
                lambda: any(
                    pod["metadata"]["uid"] in before and "deletionTimestamp" in pod["metadata"]
                    for pod in mesh.pods("app=weft-proxy")
                ),
                timeout=60,
            )
            for _ in range(20):
                assert says(talk) == "again"
        mesh.await_rollout("daemonset/weft-proxy")
    assert seen.failures == ()
    assert seen.made > 300
    assert not before & {pod["metadata"]["uid"] for pod in mesh.pods("app=weft-proxy")}


@pytest.mark.timeout(300)
def test_without_the_label_pods_are_outside_and_what_is_removed_then_leaves_nothing(mesh: Installation) -> None:
    plane = mesh.world.plane
    plane.kubectl("delete", "authorizationpolicy,peerauthentication", "--all", "--namespace=shop")
    with mesh.load(CLIENT, "web.shop") as seen:
        mesh.withdraw("shop")
        with mesh.wire() as wire:
            assert mesh.answers(CLIENT, SERVER)
        assert wire.carries("catalogue")
        mesh.remove()
        assert mesh.answers(CLIENT, SERVER)
    assert (seen.failures, seen.made > 300) == ((), True)
    assert plane.kubectl("get", "namespace", SYSTEM, "--ignore-not-found") == ""
    assert [mesh.left_on(node) for node in ("node-1", "node-2")] == [[], []]
    assert "authorizationpolicies.security.istio.io" in plane.kubectl("get", "crd", "--output=name")
