"""The mesh's ConfigMap on a real API server: what it leaves out is not published, and a bad one changes nothing."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from cryptography import x509

from agent.lab import namespaces
from agent.wire import DEBUG_PORT
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import (
    SYSTEM,
    Controller,
    Json,
    Proxy,
    a_controller,
    a_pod,
    a_proxy,
    eventually,
    put,
    report,
)
from tests.support.controller import certificate, connected


@pytest.fixture
def no_config(plane: ControlPlane) -> Iterator[None]:
    """Whatever a test says of the mesh is gone afterwards."""
    yield
    plane.kubectl("delete", "configmap", "istio", f"--namespace={SYSTEM}", "--ignore-not-found")


def configure(plane: ControlPlane, text: str) -> None:
    metadata = {"name": "istio", "namespace": SYSTEM}
    put(plane, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}})


def choosing(namespace: str) -> str:
    selector = {"matchLabels": {"chosen-by": namespace}}
    return json.dumps({"discoverySelectors": [selector]})


def problems(controller: Controller) -> list[str]:
    """What the controller says of itself on its own loopback."""

    def ask() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{DEBUG_PORT}/debug/problems", timeout=10) as answer:
            return [str(each) for each in json.loads(answer.read())]

    return namespaces.inside(controller.name, ask)


def add_pod(plane: ControlPlane, namespace: str, name: str, address: str, **labels: str) -> Json:
    pod = a_pod(namespace, name, **labels)
    put(plane, pod)
    report(plane, pod, address)
    return pod


async def is_told(proxy: Proxy, namespace: str, name: str, *, so: bool = True) -> None:
    await proxy.until(f"{name}: {so}", lambda seen: (seen.workload(namespace, name) is not None) is so)


async def test_namespaces_join_and_leave_while_it_runs(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str, no_config: None
) -> None:
    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")
    add_pod(plane, namespace, "web", "192.0.2.50")
    async with a_proxy(controller, roots, token) as proxy:
        await is_told(proxy, namespace, "web")
        configure(plane, choosing(namespace))
        await is_told(proxy, namespace, "web", so=False)
        plane.kubectl("label", "namespace", namespace, f"chosen-by={namespace}")
        await is_told(proxy, namespace, "web")
        plane.kubectl("label", "namespace", namespace, "chosen-by-")
        await is_told(proxy, namespace, "web", so=False)
        plane.kubectl("delete", "configmap", "istio", f"--namespace={SYSTEM}")
        await is_told(proxy, namespace, "web")


async def test_settings_that_cannot_be_used_leave_the_last_good_ones_in_force(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str, no_config: None
) -> None:
    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")
    plane.kubectl("label", "namespace", SYSTEM, f"chosen-by={namespace}", "--overwrite")
    configure(plane, choosing(namespace))
    add_pod(plane, namespace, "outside", "192.0.2.51")
    configure(plane, "discoverySelectors: 5")
    (problem,) = await eventually("it is a problem", lambda: problems(controller), bool)
    assert problem.startswith(f"ConfigMap {SYSTEM}/istio: mesh: MeshConfig: discoverySelectors: read 5")
    inside = add_pod(plane, SYSTEM, "inside", "192.0.2.52")
    async with a_proxy(controller, roots, token) as proxy:
        await is_told(proxy, SYSTEM, "inside")
        assert proxy.workload(namespace, "outside") is None
        configure(plane, "{}")
        await is_told(proxy, namespace, "outside")
    await eventually("it is no problem any more", lambda: problems(controller), lambda seen: not seen)
    plane.kubectl("delete", "pod", inside["metadata"]["name"], f"--namespace={SYSTEM}", "--force", "--grace-period=0")


async def test_what_names_another_revision_is_left_alone_and_its_pods_are_published(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    def policy(name: str, **labels: str) -> Json:
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": {}}

    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")
    put(plane, policy("theirs", **{"istio.io/rev": "canary"}), policy("ours", **{"istio.io/rev": "default"}))
    add_pod(plane, namespace, "web", "192.0.2.53", **{"istio.io/rev": "canary"})
    async with a_proxy(controller, roots, token) as proxy:
        await proxy.until("ours is known", lambda seen: f"{namespace}/ours" in seen.policies)
        await is_told(proxy, namespace, "web")
        assert f"{namespace}/theirs" not in proxy.policies
        put(plane, policy("theirs"))
        await proxy.until("it is ours now", lambda seen: f"{namespace}/theirs" in seen.policies)
        put(plane, policy("theirs", **{"istio.io/rev": "canary"}))
        await proxy.until("it is theirs again", lambda seen: f"{namespace}/theirs" not in seen.policies)


async def test_the_trust_domain_is_that_of_the_start(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, no_config: None
) -> None:
    configure(plane, "trustDomain: example.org")
    with a_controller(plane) as other:
        async with connected(roots, port=other.port) as channel:
            issued = await certificate(channel, token, f"spiffe://example.org/ns/{SYSTEM}/sa/weft-proxy")
        leaf = x509.load_pem_x509_certificate(issued.cert_chain[0].encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
            f"spiffe://example.org/ns/{SYSTEM}/sa/weft-proxy"
        ]
        assert problems(other) == []
        configure(plane, "trustDomain: example.com")
        (problem,) = await eventually("it is a problem", lambda: problems(other), bool)
        assert "trustDomain: read 'example.com'; 'example.org' stays in force until" in problem
