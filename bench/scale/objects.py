"""The objects of a large cluster, as their owners would write them. Pure.

Every service has pods of its own, spread over the nodes; namespaces share both out evenly. Pods look like those of a
cluster in use, not like a test's: what a mesh has no use for is most of what the API server sends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from agent.wire import REDIRECTION_ANNOTATION, REDIRECTION_ENABLED, SYSTEM_NAMESPACE

Json = dict[str, Any]

PROXY_ACCOUNT: Final = "weft-proxy"
_FIRST_ADDRESS: Final = ipaddress.IPv4Address("10.128.0.1")
_FULL_NODE: Final = 250  # pods of the first node; the others share the rest
_ACCOUNTS: Final = 5  # of a namespace


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything. prefix: of its namespaces, so that two clusters fit beside each other."""

    pods: int = 10_000
    services: int = 2_000
    policies: int = 500
    nodes: int = 200
    namespaces: int = 50
    prefix: str = "team"

    @property
    def resources(self) -> int:
        """Address resources that follow from it; each node's proxy is a pod too."""
        return self.pods + self.nodes + self.services


@dataclass(frozen=True, slots=True)
class PodName:
    """Which pod, and the address that it has."""

    namespace: str
    name: str
    address: str

    @property
    def uid(self) -> str:
        """Its workload's name in discovery."""
        return f"Kubernetes//Pod/{self.namespace}/{self.name}"


def namespaces(size: Size) -> list[str]:
    return [f"{size.prefix}-{number}" for number in range(size.namespaces)]


def node_name(size: Size, number: int) -> str:
    return f"{size.prefix}-node-{number}"


def pod_names(size: Size) -> list[PodName]:
    """Of all pods but the proxies', in the order of pods()."""
    return [
        PodName(_namespace_of(size, number % size.services), f"app-{number % size.services}-{number}", address)
        for number, address in zip(range(size.pods), _addresses(), strict=False)
    ]


def proxies(size: Size) -> list[PodName]:
    """The pods of the node proxies, one for each node."""
    addresses = _addresses(size.pods)
    return [
        PodName(SYSTEM_NAMESPACE, f"{size.prefix}-proxy-{number}", address)
        for number, address in zip(range(size.nodes), addresses, strict=False)
    ]


def first(size: Size) -> Iterator[Json]:
    """What has to be there before anything else."""
    for number in range(size.nodes):
        zone = f"zone-{number % 3}"
        labels = {"topology.kubernetes.io/region": "north", "topology.kubernetes.io/zone": zone}
        yield _object("v1", "Node", {"name": node_name(size, number), "labels": labels})
    for name in namespaces(size):
        yield _object("v1", "Namespace", {"name": name})


def accounts(size: Size) -> Iterator[Json]:
    for namespace in namespaces(size):
        for number in range(_ACCOUNTS):
            yield _object("v1", "ServiceAccount", {"namespace": namespace, "name": f"account-{number}"})


def services(size: Size) -> Iterator[Json]:
    for number in range(size.services):
        metadata = {"namespace": _namespace_of(size, number), "name": f"app-{number}"}
        ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "metrics", "port": 9090}]
        yield _object("v1", "Service", metadata, {"selector": {"app": f"app-{number}"}, "ports": ports})


def policies(size: Size) -> Iterator[Json]:
    """Each for one service, its clients named by account."""
    for number in range(size.policies):
        namespace = _namespace_of(size, number)
        principals = [f"cluster.local/ns/{namespace}/sa/account-{each}" for each in range(_ACCOUNTS)]
        rule = {"from": [{"source": {"principals": principals}}], "to": [{"operation": {"ports": ["8080"]}}]}
        spec = {"selector": {"matchLabels": {"app": f"app-{number}"}}, "rules": [rule]}
        yield _object(
            "security.istio.io/v1", "AuthorizationPolicy", {"namespace": namespace, "name": f"policy-{number}"}, spec
        )


def pods(size: Size) -> Iterator[Json]:
    """All of them, the node proxies' last. Their status is apart: status()."""
    full = min(_FULL_NODE, size.pods // 2)
    for number, pod in enumerate(pod_names(size)):
        node = 0 if number < full or size.nodes == 1 else 1 + number % (size.nodes - 1)
        app = f"app-{number % size.services}"
        yield _pod(pod, node_name(size, node), f"account-{number % _ACCOUNTS}", app)
    for number, pod in enumerate(proxies(size)):
        yield _pod(pod, node_name(size, number), PROXY_ACCOUNT, PROXY_ACCOUNT)


def readiness(*, ready: bool) -> Json:
    """What a kubelet says when that changes."""
    return {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}


def status(pod: PodName) -> Json:
    """What a kubelet says of a pod that runs, and is ready."""
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "PodScheduled", "Ready")
    ]
    image = "registry.example/team/application:1.4.2"
    container = {
        "name": "main",
        "ready": True,
        "restartCount": 0,
        "image": image,
        "imageID": f"{image}@sha256:{'0' * 64}",
        "containerID": f"containerd://{'0' * 64}",
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }
    return {
        "phase": "Running",
        "podIP": pod.address,
        "podIPs": [{"ip": pod.address}],
        "conditions": conditions,
        "containerStatuses": [container],
    }


def _pod(pod: PodName, node: str, account: str, app: str) -> Json:
    labels = {"app": app, "version": "v1", "pod-template-hash": "6d5f7c9b8d", "app.kubernetes.io/part-of": "shop"}
    annotations = {
        REDIRECTION_ANNOTATION: REDIRECTION_ENABLED,
        "prometheus.io/scrape": "true",
        "checksum/config": "0" * 64,
    }
    environment: list[Json] = [{"name": f"SETTING_{number}", "value": "x" * 20} for number in range(10)]
    environment.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    container = {
        "name": "main",
        "image": "registry.example/team/application:1.4.2",
        "env": environment,
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        "livenessProbe": {"httpGet": {"path": "/alive", "port": "http"}},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }
    spec = {
        "nodeName": node,
        "serviceAccountName": account,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {"namespace": pod.namespace, "name": pod.name, "labels": labels, "annotations": annotations}
    return _object("v1", "Pod", metadata, spec)


def _object(version: str, kind: str, metadata: Json, spec: Json | None = None) -> Json:
    made: Json = {"apiVersion": version, "kind": kind, "metadata": metadata}
    return made if spec is None else {**made, "spec": spec}


def _namespace_of(size: Size, service: int) -> str:
    return f"{size.prefix}-{service % size.namespaces}"


def _addresses(after: int = 0) -> Iterator[str]:
    address = _FIRST_ADDRESS + after
    while True:
        yield str(address)
        address += 1
