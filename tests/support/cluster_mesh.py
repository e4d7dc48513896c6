"""The mesh's controllers beside a real control plane: shipped permissions, real tokens, pods that a test reports on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import grpc

from agent.controller import registration
from agent.lab import namespaces
from agent.proto import authorization_pb2, workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE, DISCOVERY_PORT
from tests.support.cluster import ControlPlane
from tests.support.controller import Request, Response, Stream, await_line, command, connected
from tests.support.relay import Gate, Place, relay

ROOT = Path(__file__).parents[2]
SYSTEM = "istio-system"
PROXY_POD = "weft-proxy-1"  # on node-1
PATIENCE_SECONDS = 30.0
# The API server would ask the webhook by the controller's Service, which leads nowhere here.
REACHED_BY_NOBODY = {"WEFT_WEBHOOK_FAILURE_POLICY": "Ignore"}
PROGRAMS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
T = TypeVar("T")
Json = dict[str, Any]


@dataclass(frozen=True)
class Controller:
    """A running controller; `port` of 127.0.0.1 leads to its discovery port."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: list[bytes]  # its lines, as they come


@contextlib.contextmanager
def installed(plane: ControlPlane) -> Iterator[None]:
    """The namespace, definitions and permissions, as they are shipped; and node-1 and node-2, in zones a and b."""
    put(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    put(plane, a_node("node-1", "a"), a_node("node-2", "b"))  # pods of nodes that do not exist are collected
    for source in (f"--kustomize={ROOT}/daemonset/crds", f"--filename={ROOT}/daemonset/rbac.yaml"):
        plane.kubectl("apply", "--server-side", "--force-conflicts", source)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    yield
    plane.kubectl("delete", "--ignore-not-found", f"--filename={ROOT}/daemonset/rbac.yaml", "--wait=false")
    plane.kubectl("delete", "node", "node-1", "node-2")
    plane.kubectl("delete", "namespace", SYSTEM, "--wait=false")


@contextlib.contextmanager
def a_controller(plane: ControlPlane, gate: Gate | None = None, **environment: str) -> Iterator[Controller]:
    """One that has read the cluster, as the service account that is shipped for it, in a namespace of its own.

    gate: what it reaches the API server through.
    """
    name = f"weft-test-replica-{uuid.uuid4().hex[:8]}"
    kubeconfig = plane.kubeconfig_of(SYSTEM, "weft-controller")
    server = urlsplit(plane.url)
    assert server.hostname and server.port
    namespaces.create(name)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=10)
        with (
            relay(Place(server.hostname, server.port, name), Place(server.hostname, server.port), gate=gate),
            relay(Place("127.0.0.1", 0), Place("127.0.0.1", DISCOVERY_PORT, name)) as port,
            _running(name, kubeconfig, environment) as (process, log),
        ):
            yield Controller(name, port, process, log)
    finally:
        namespaces.delete(name)


@contextlib.contextmanager
def _running(
    name: str, kubeconfig: Path, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], list[bytes]]]:
    process = subprocess.Popen(
        ["ip", "netns", "exec", name, *command()],
        env={**PROGRAMS, "KUBECONFIG": str(kubeconfig), **REACHED_BY_NOBODY, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        await_line(process, b"cluster read")
        assert process.stderr is not None
        log: list[bytes] = []
        threading.Thread(target=_keep, args=(process.stderr, log), daemon=True).start()
        yield process, log
    finally:
        process.terminate()  # one that is killed leaves its lease to run out
        try:
            process.wait(timeout=5)
        finally:
            process.kill()
            process.wait(timeout=10)


def _keep(pipe: IO[bytes], log: list[bytes]) -> None:
    with pipe:
        log.extend(pipe)


def forget_webhook(plane: ControlPlane) -> None:
    """Take back what a controller that leads has registered, and leaves behind."""
    plane.kubectl("delete", "validatingwebhookconfiguration", "--ignore-not-found", registration.NAME)


def put(plane: ControlPlane, *objects: Json) -> None:
    text = "\n---\n".join(map(json.dumps, objects))
    plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)


def get(plane: ControlPlane, *arguments: str) -> Any:
    return json.loads(plane.kubectl("get", *arguments, "--output=json"))


def a_node(name: str, zone: str) -> Json:
    labels = {"topology.kubernetes.io/region": "north", "topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def a_pod(namespace: str, name: str, *, node: str = "node-1", account: str = "default", **labels: str) -> Json:
    """With what a cluster's pods have and a mesh has no use for."""
    password = {"secretKeyRef": {"name": "db", "key": "password", "optional": True}}
    container = {
        "name": "main",
        "image": "web",
        "env": [{"name": "PASSWORD", "valueFrom": password}],
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"grpc": {"port": 9090}},
    }
    spec = {
        "nodeName": node,
        "serviceAccountName": account,
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def report(plane: ControlPlane, pod: Json, address: str, *, ready: bool = True) -> None:
    """What a kubelet says of a pod that runs."""
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
    metadata = pod["metadata"]
    where = (f"--namespace={metadata['namespace']}", "--subresource=status", "--type=merge")
    plane.kubectl("patch", "pod", metadata["name"], *where, f"--patch={json.dumps({'status': status})}")


def bound_token(plane: ControlPlane, account: str, pod: str, *, audience: str = "istio-ca") -> str:
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--audience={audience}")
    return plane.kubectl("create", "token", account, f"--namespace={SYSTEM}", *bound).strip()


def roots_of(plane: ControlPlane) -> bytes:
    """Those of the mesh; a controller has made them."""
    secret = get(plane, "secret", "istio-ca-secret", f"--namespace={SYSTEM}")
    return base64.b64decode(secret["data"]["root-cert.pem"])


async def eventually(what: str, look: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """What is seen once it is right; looks again and again."""
    found = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_right(found := await asyncio.to_thread(look)):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.1)
            return found
    raise AssertionError(f"{what}: last seen was {found}")


@dataclass
class Proxy:
    """A node proxy's view of the mesh, as discovery has told it so far."""

    stream: Stream
    addresses: dict[str, workload_pb2.Address] = field(default_factory=dict)
    policies: dict[str, authorization_pb2.Authorization] = field(default_factory=dict)

    async def until(self, what: str, is_so: Callable[[Proxy], bool]) -> None:
        """Listen until something is so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not is_so(self):
                    self._take(await self.stream.hear())
                return
        raise AssertionError(f"{what}: told were {sorted(self.addresses)} and {sorted(self.policies)}")

    def workload(self, namespace: str, name: str) -> workload_pb2.Workload | None:
        found = self.addresses.get(f"Kubernetes//Pod/{namespace}/{name}")
        return found.workload if found is not None else None

    def _take(self, response: Response) -> None:
        is_policy = response.type_url == AUTHORIZATION_TYPE
        for name in response.removed_resources:
            (self.policies if is_policy else self.addresses).pop(name, None)
        for one in response.resources:
            if is_policy:
                self.policies[one.name] = authorization_pb2.Authorization.FromString(one.resource.value)
            else:
                self.addresses[one.name] = workload_pb2.Address.FromString(one.resource.value)


@contextlib.asynccontextmanager
async def a_proxy(controller: Controller, roots: bytes, token: str) -> AsyncIterator[Proxy]:
    """A node proxy that follows everything."""
    async with connected(roots, port=controller.port) as channel:
        stream = Stream(channel, token)
        for type_url in (AUTHORIZATION_TYPE, ADDRESS_TYPE):
            await stream.ask(type_url)
        yield Proxy(stream)


async def refusal(controller: Controller, roots: bytes, token: str) -> grpc.StatusCode:
    """How discovery refuses a token."""
    async with connected(roots, port=controller.port) as channel:
        stream = Stream(channel, token)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await stream.call.write(Request(type_url=ADDRESS_TYPE))
        return await asyncio.wait_for(stream.call.code(), PATIENCE_SECONDS)
