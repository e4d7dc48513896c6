"""What the shipped permissions let each process do on a real API server, and that it is refused everything else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.apiserver.connection import JSON, MERGE_PATCH, Connection
from agent.apiserver.origin import Origin, opened
from agent.errors import ConflictError, RefusedError
from agent.kube import NAMESPACE, POD, ChangeType, Object
from agent.model import NodeName
from agent.node.inventory import Inventory
from tests.support.cluster import ControlPlane, write_kubeconfig
from tests.support.cluster_mesh import SYSTEM, a_pod, put, report

AGENT_POD = "weft-node-1"
REDIRECTED: Object = {"metadata": {"annotations": {"ambient.istio.io/redirection": "enabled"}}}
ONLY_THIS_NODE = {POD: "spec.nodeName=node-1"}


@pytest.fixture(scope="module")
def agent(plane: ControlPlane, mesh: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of node-1's agent, by the token that its pod would have."""
    put(plane, a_pod(SYSTEM, AGENT_POD, account="weft-node"))
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={AGENT_POD}")
    token = plane.kubectl("create", "token", "weft-node", f"--namespace={SYSTEM}", *bound).strip()
    path = tmp_path_factory.mktemp("agent") / "kubeconfig"
    write_kubeconfig(path, plane.url, plane.ca, {"token": token})
    return path


@pytest.fixture
def pods(plane: ControlPlane, mesh: None, namespace: str) -> str:
    """A namespace with a pod on the agent's node, and one on another."""
    plane.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=10s")
    for name, node in (("here", "node-1"), ("there", "node-2")):
        put(plane, a_pod(namespace, name, node=node, app="web"))
        report(plane, a_pod(namespace, name), "192.0.2.10")
    return namespace


async def test_an_agent_is_told_the_pods_of_its_node_and_the_namespaces(agent: Path, pods: str) -> None:
    inventory = Inventory()
    async with (
        asyncio.timeout(20),
        opened(Origin(kubeconfig=agent), ONLY_THIS_NODE) as cluster,
        contextlib.aclosing(cluster.watch((NAMESPACE, POD))) as changes,
    ):
        async for change in changes:
            inventory.apply(change)
            if change.type is ChangeType.SYNCED:
                break
    assert {pod.node for pod in inventory.pods.values()} == {NodeName("node-1")}
    assert f"{pods}/here" in {pod.full_name for pod in inventory.pods.values()}
    assert {pods, SYSTEM} <= inventory.namespace_labels.keys()


async def test_a_pod_that_ends_is_told_to_its_nodes_agent(plane: ControlPlane, agent: Path, pods: str) -> None:
    inventory = Inventory()

    async def follow(until: str) -> None:
        async for change in changes:
            inventory.apply(change)
            if change.type is ChangeType[until] and (change.object is None or change.object["kind"] == "Pod"):
                return

    async with (
        asyncio.timeout(20),
        opened(Origin(kubeconfig=agent), ONLY_THIS_NODE) as cluster,
        contextlib.aclosing(cluster.watch((NAMESPACE, POD))) as changes,
    ):
        await follow("SYNCED")
        for name in ("there", "here"):
            plane.kubectl("delete", "pod", name, f"--namespace={pods}", "--force", "--grace-period=0")
        await follow("DELETED")
    assert f"{pods}/here" not in {pod.full_name for pod in inventory.pods.values()}


async def test_an_agent_annotates_the_pods_of_its_node_and_no_other_of_the_name(agent: Path, pods: str) -> None:
    async with opened(Origin(kubeconfig=agent), ONLY_THIS_NODE) as cluster:
        (uid,) = [each["metadata"]["uid"] for each in await cluster.list(POD) if each["metadata"]["namespace"] == pods]
        stored = await cluster.patch(POD, pods, "here", REDIRECTED, uid=uid)
        assert stored["metadata"]["annotations"] == REDIRECTED["metadata"]["annotations"]
        removal: Object = {"metadata": {"annotations": {"ambient.istio.io/redirection": None}}}
        assert "annotations" not in (await cluster.patch(POD, pods, "here", removal, uid=uid))["metadata"]


FORBIDDEN_CHANGES = {
    "a pod of another node": ("there", REDIRECTED, "pods of its own node only"),
    "another annotation": ("here", {"metadata": {"annotations": {"x": "y"}}}, "no annotation but"),
    "a label": ("here", {"metadata": {"labels": {"app": "db"}}}, "no labels and no finalizers"),
    "a finalizer": ("here", {"metadata": {"finalizers": ["x.example/y"]}}, "no labels and no finalizers"),
    "what it says of itself": ("here", {"status": {"phase": "Failed"}}, "not change what a pod's status says"),
}


@pytest.mark.parametrize(("name", "patch", "says"), FORBIDDEN_CHANGES.values(), ids=FORBIDDEN_CHANGES)
async def test_an_agent_changes_nothing_else_of_a_pod(
    agent: Path, pods: str, name: str, patch: Object, says: str
) -> None:
    path = f"/api/v1/namespaces/{pods}/pods/{name}/status"
    async with connected(agent) as api, asyncio.timeout(20):
        # The rule comes into force about a second after it is applied: nothing may be changed before that.
        while (refused := await refusal_of(api, "PATCH", path, patch)) is None:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.1)
    assert says in refused


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Connection]:
    opened = await Connection.open(kubeconfig)
    try:
        yield opened
    finally:
        await opened.close()


async def refusal_of(api: Connection, method: str, path: str, body: Object | None = None) -> str | None:
    """How the API server refuses a request, which changes nothing if it does not."""
    query = {} if method == "GET" else {"dryRun": "All"}
    try:
        await api.request(method, path, query, body, MERGE_PATCH if method == "PATCH" else JSON)
    except RefusedError as exc:
        return str(exc)
    return None


SYSTEM_PATH = f"/api/v1/namespaces/{SYSTEM}"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
DAEMON_SETS = f"/apis/apps/v1/namespaces/{SYSTEM}/daemonsets"
SECURITY = "/apis/security.istio.io/v1"
NETWORKING = "/apis/networking.istio.io/v1"
TO_BE_ADMINISTRATOR: Object = {
    "metadata": {"name": "mine"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
}
NOTHING: Object = {}
REQUESTS: dict[str, tuple[str, str, Object | None]] = {
    "secrets": ("GET", "/api/v1/secrets", None),
    "the root's key": ("GET", f"{SYSTEM_PATH}/secrets/istio-ca-secret", None),
    "the record of its authority": ("GET", f"{SYSTEM_PATH}/secrets/weft-ca-record", None),
    "nodes": ("GET", "/api/v1/nodes", None),
    "services": ("GET", "/api/v1/services", None),
    "config maps": ("GET", "/api/v1/configmaps", None),
    "config maps of its namespace": ("GET", f"{SYSTEM_PATH}/configmaps", None),
    "a config map that is not the mesh's": ("GET", f"{SYSTEM_PATH}/configmaps/istio-ca-root-cert", None),
    "the mesh's settings": ("PATCH", f"{SYSTEM_PATH}/configmaps/istio", NOTHING),
    "policies": ("GET", f"{SECURITY}/authorizationpolicies", None),
    "service entries": ("GET", f"{NETWORKING}/serviceentries", None),
    "a token of another": ("POST", f"{SYSTEM_PATH}/serviceaccounts/weft-proxy/token", {"spec": {}}),
    "whose a token is": ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
    "permissions": ("POST", f"{RBAC}/clusterrolebindings", TO_BE_ADMINISTRATOR),
    "the end of a pod": ("DELETE", f"{SYSTEM_PATH}/pods/{AGENT_POD}", None),
    "what a pod runs": ("PATCH", f"{SYSTEM_PATH}/pods/{AGENT_POD}", NOTHING),
    "a command in a pod": ("POST", f"{SYSTEM_PATH}/pods/{AGENT_POD}/exec", None),
    "a namespace's labels": ("PATCH", f"/api/v1/namespaces/{SYSTEM}", NOTHING),
    "another daemon set": ("GET", f"{DAEMON_SETS}/weft-proxy", None),
    "the end of its daemon set": ("DELETE", f"{DAEMON_SETS}/weft-node", None),
    "the lease": ("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/weft-controller", NOTHING),
    "the rule over it": (
        "DELETE",
        f"{ADMISSION}/validatingadmissionpolicies/weft-node",
        None,
    ),
}
OF_A_PROXY = {
    **REQUESTS,
    "pods": ("GET", "/api/v1/pods", None),
    "namespaces": ("GET", "/api/v1/namespaces", None),
    "a pod's status": ("PATCH", f"{SYSTEM_PATH}/pods/{AGENT_POD}/status", NOTHING),
}
OF_A_CONTROLLER: dict[str, tuple[str, str, Object | None]] = {
    "secrets": ("GET", "/api/v1/secrets", None),
    "secrets of its namespace": ("GET", f"{SYSTEM_PATH}/secrets", None),
    "another secret of its namespace": ("GET", f"{SYSTEM_PATH}/secrets/another", None),
    "a secret of another namespace": ("GET", "/api/v1/namespaces/default/secrets/istio-ca-secret", None),
    "the root's end": ("DELETE", f"{SYSTEM_PATH}/secrets/istio-ca-secret", None),
    "what is plugged in": ("PATCH", f"{SYSTEM_PATH}/secrets/cacerts", NOTHING),
    "the end of its record": ("DELETE", f"{SYSTEM_PATH}/secrets/weft-ca-record", None),
    "that name in another namespace": ("GET", "/api/v1/namespaces/default/secrets/weft-ca-record", None),
    "other config maps": ("GET", "/api/v1/configmaps", None),
    "config maps of its namespace": ("GET", f"{SYSTEM_PATH}/configmaps", None),
    "the mesh's settings": ("PATCH", f"{SYSTEM_PATH}/configmaps/istio", NOTHING),
    "another config map": ("PATCH", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", NOTHING),
    "a policy itself": ("PATCH", f"{SECURITY}/namespaces/default/authorizationpolicies/front", NOTHING),
    "a new policy": ("POST", f"{SECURITY}/namespaces/default/authorizationpolicies", {"metadata": {"name": "x"}}),
    "an entry itself": ("PATCH", f"{NETWORKING}/namespaces/default/serviceentries/db", NOTHING),
    "a new entry": ("POST", f"{NETWORKING}/namespaces/default/workloadentries", {"metadata": {"name": "x"}}),
    "the end of an entry": ("DELETE", f"{NETWORKING}/namespaces/default/workloadentries/vm", None),
    "a pod's status": ("PATCH", f"{SYSTEM_PATH}/pods/{AGENT_POD}/status", NOTHING),
    "a service": ("PATCH", "/api/v1/namespaces/default/services/kubernetes", NOTHING),
    "another lease": ("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/another", NOTHING),
    "a token of another": ("POST", f"{SYSTEM_PATH}/serviceaccounts/weft-proxy/token", {"spec": {}}),
    "permissions": ("POST", f"{RBAC}/clusterrolebindings", TO_BE_ADMINISTRATOR),
    "another webhook": ("PATCH", f"{ADMISSION}/validatingwebhookconfigurations/istio-validator", NOTHING),
    "all webhooks": ("GET", f"{ADMISSION}/validatingwebhookconfigurations", None),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_an_agent_is_refused_everything_else(agent: Path, request_: tuple[str, str, Object | None]) -> None:
    async with connected(agent) as api:
        assert 'weft-node" cannot ' in (await refusal_of(api, *request_) or "")


@pytest.mark.parametrize("request_", OF_A_PROXY.values(), ids=OF_A_PROXY)
async def test_a_node_proxy_is_refused_everything(
    plane: ControlPlane, agent: Path, request_: tuple[str, str, Object | None]
) -> None:
    async with connected(plane.kubeconfig_of(SYSTEM, "weft-proxy")) as api:
        assert 'weft-proxy" cannot ' in (await refusal_of(api, *request_) or "")


@pytest.mark.parametrize("request_", OF_A_CONTROLLER.values(), ids=OF_A_CONTROLLER)
async def test_a_controller_is_refused_what_it_has_no_need_of(
    plane: ControlPlane, agent: Path, request_: tuple[str, str, Object | None]
) -> None:
    async with connected(plane.kubeconfig_of(SYSTEM, "weft-controller")) as api:
        assert 'weft-controller" cannot ' in (await refusal_of(api, *request_) or "")


async def test_a_change_of_another_pod_of_that_name_is_refused(agent: Path, pods: str) -> None:
    async with opened(Origin(kubeconfig=agent), ONLY_THIS_NODE) as cluster:
        with pytest.raises(ConflictError, match="another object by now"):
            await cluster.patch(POD, pods, "here", REDIRECTED, uid="of the one before")
