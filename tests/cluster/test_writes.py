"""Writing through a real API server, with no more permissions than it takes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.apiserver.cluster import api_server
from agent.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from agent.kube import NAMESPACE, POD, SERVICE, Cluster, Object
from tests.support.cluster import ControlPlane, write_kubeconfig

REDIRECTED = {"metadata": {"annotations": {"ambient.istio.io/redirection": "enabled"}}}
RUNNING = {"status": {"phase": "Running", "podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}]}}


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with api_server(plane.kubeconfig) as server:
        yield server


@pytest.fixture
async def pod(plane: ControlPlane, cluster: Cluster, namespace: str) -> Object:
    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")
    return await cluster.create(POD, a_pod(namespace))


def a_pod(namespace: str) -> Object:
    metadata = {"name": "web", "namespace": namespace}
    return {"metadata": metadata, "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "web"}]}}


async def test_a_created_object_is_stored_whole(cluster: Cluster, pod: Object) -> None:
    assert (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) == ("v1", "Pod", "web")
    assert {"uid", "resourceVersion", "creationTimestamp"} <= pod["metadata"].keys()
    assert pod in await cluster.list(POD)
    with pytest.raises(ConflictError, match='pods "web" already exists'):
        await cluster.create(POD, a_pod(pod["metadata"]["namespace"]))


async def test_one_patch_changes_an_object_and_its_status(cluster: Cluster, pod: Object) -> None:
    stored = await cluster.patch(POD, pod["metadata"]["namespace"], "web", REDIRECTED | RUNNING)
    assert stored["metadata"]["annotations"] == REDIRECTED["metadata"]["annotations"]
    assert stored["status"]["podIP"] == "192.0.2.1"
    removal = {"metadata": {"annotations": {"ambient.istio.io/redirection": None}}}
    stored = await cluster.patch(POD, pod["metadata"]["namespace"], "web", removal)
    assert "annotations" not in stored["metadata"]


async def test_a_status_is_kept_apart_from_the_rest(cluster: Cluster, namespace: str) -> None:
    service = {"metadata": {"name": "web", "namespace": namespace}, "spec": {"ports": [{"port": 80}]}}
    await cluster.create(SERVICE, service)
    ready = {"status": {"conditions": [a_condition()]}}
    labelled = {"metadata": {"labels": {"app": "web"}}}
    stored = await cluster.patch(SERVICE, namespace, "web", labelled | ready)
    assert stored["metadata"]["labels"] == {"app": "web"}
    assert stored["status"]["conditions"] == [a_condition()]


def a_condition() -> Object:
    time = "2026-01-01T00:00:00Z"
    return {"type": "Bound", "status": "True", "reason": "Bound", "message": "", "lastTransitionTime": time}


async def test_a_patch_is_only_for_the_object_that_was_meant(cluster: Cluster, pod: Object) -> None:
    metadata = pod["metadata"]
    await cluster.patch(POD, metadata["namespace"], "web", RUNNING, uid=metadata["uid"])
    with pytest.raises(ConflictError, match="another object by now"):
        await cluster.patch(POD, metadata["namespace"], "web", REDIRECTED, uid="another")
    (found,) = [each for each in await cluster.list(POD) if each["metadata"]["uid"] == metadata["uid"]]
    assert "annotations" not in found["metadata"]


async def test_a_deleted_pod_is_gone_at_once(cluster: Cluster, pod: Object) -> None:
    await cluster.delete(POD, pod["metadata"]["namespace"], "web")
    assert pod["metadata"]["uid"] not in {each["metadata"]["uid"] for each in await cluster.list(POD)}
    with pytest.raises(NotFoundError):
        await cluster.delete(POD, pod["metadata"]["namespace"], "web")
    with pytest.raises(NotFoundError):
        await cluster.patch(POD, pod["metadata"]["namespace"], "web", REDIRECTED)


async def test_an_object_that_is_not_valid_is_refused_with_its_field(cluster: Cluster) -> None:
    with pytest.raises(RefusedError, match=r"metadata\.name"):
        await cluster.create(NAMESPACE, {"metadata": {"name": "Not_A_Name"}})


async def test_annotating_a_pod_takes_the_permission_for_its_status_alone(
    plane: ControlPlane, pod: Object, namespace: str
) -> None:
    plane.kubectl("create", "serviceaccount", "agent", f"--namespace={namespace}")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "agent", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}],
    }
    plane.kubectl("create", "--filename=-", stdin=json.dumps(role))
    binding = ("--role=agent", f"--serviceaccount={namespace}:agent", f"--namespace={namespace}")
    plane.kubectl("create", "rolebinding", "agent", *binding)
    async with api_server(plane.kubeconfig_of(namespace, "agent")) as agent:
        stored = await agent.patch(POD, namespace, "web", REDIRECTED, uid=pod["metadata"]["uid"])
        assert stored["metadata"]["annotations"] == REDIRECTED["metadata"]["annotations"]
        with pytest.raises(ForbiddenError, match='cannot list resource "pods"'):
            await agent.list(POD)
        with pytest.raises(ForbiddenError, match='cannot patch resource "pods" in'):
            await agent.patch(POD, namespace, "web", {"spec": {"activeDeadlineSeconds": 1}})


async def test_a_token_that_nobody_signed_is_no_caller(plane: ControlPlane, tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", plane.url, plane.ca, {"token": "made-up"})
    async with api_server(tmp_path / "kubeconfig") as nobody:
        with pytest.raises(UnauthenticatedError):
            await nobody.list(POD)


async def test_no_api_server_is_unavailable(plane: ControlPlane, tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", plane.etcd_url.replace("http:", "https:"), plane.ca, {})
    async with api_server(tmp_path / "kubeconfig") as server:
        with pytest.raises(UnavailableError, match="is the API server there"):
            await server.list(POD)
