"""Kubernetes objects as an API server returns them."""

from __future__ import annotations

import itertools
from typing import Any

_versions = itertools.count(1)
Object = dict[str, Any]


def a_pod(
    name: str = "web-1",
    namespace: str = "shop",
    *,
    ip: str | tuple[str, ...] = "10.0.0.7",
    node: str = "node-1",
    account: str = "web",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    ready: bool = True,
    phase: str = "Running",
    terminating: bool = False,
    host_network: bool = False,
    ports: dict[str, int] | None = None,
    owner: tuple[str, str] | None = None,
    uid: str = "",
) -> Object:
    """A running pod; `owner` is the controlling one's kind and name."""
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{namespace}-{name}",
        "resourceVersion": str(next(_versions)),
        "labels": {"app": "web"} if labels is None else labels,
        "annotations": annotations or {},
    }
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ips = (ip,) if isinstance(ip, str) else ip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "nodeName": node,
            "serviceAccountName": account,
            "hostNetwork": host_network,
            "containers": [
                {
                    "name": "main",
                    "ports": [{"name": key, "containerPort": value} for key, value in (ports or {}).items()],
                }
            ],
        },
        "status": {
            "phase": phase,
            "podIPs": [{"ip": each} for each in ips if each],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def a_service(
    name: str = "web",
    namespace: str = "shop",
    *,
    ips: tuple[str, ...] = ("10.96.0.1",),
    ports: tuple[Object, ...] = ({"name": "http", "port": 80, "targetPort": 8080},),
    selector: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-service-{namespace}-{name}",
            "resourceVersion": str(next(_versions)),
            "annotations": annotations or {},
        },
        "spec": {
            "clusterIP": ips[0],
            "clusterIPs": list(ips),
            "selector": {"app": "web"} if selector is None else selector,
            "ports": list(ports),
            **spec,
        },
    }


def a_node(name: str = "node-1", labels: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"uid-node-{name}",
            "resourceVersion": str(next(_versions)),
            "labels": labels or {},
        },
    }


def a_policy(
    name: str = "allow",
    namespace: str = "shop",
    *,
    annotations: dict[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
    **spec: Any,
) -> Object:
    """An AuthorizationPolicy."""
    return _security("AuthorizationPolicy", name, namespace, annotations, created, spec)


def a_peer(
    name: str = "default",
    namespace: str = "shop",
    mode: str | None = None,
    *,
    app: str = "",
    ports: dict[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
) -> Object:
    """A PeerAuthentication, for the pods of an app or for all; `ports` are modes by port."""
    spec: Object = {"mtls": {"mode": mode}} if mode else {}
    spec |= {"selector": {"matchLabels": {"app": app}}} if app else {}
    spec |= {"portLevelMtls": {port: {"mode": each} for port, each in ports.items()}} if ports else {}
    return _security("PeerAuthentication", name, namespace, None, created, spec)


def _security(
    kind: str, name: str, namespace: str, annotations: dict[str, str] | None, created: str, spec: Object
) -> Object:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{kind}-{namespace}-{name}",
        "resourceVersion": str(next(_versions)),
        "creationTimestamp": created,
        "annotations": annotations or {},
    }
    return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def a_namespace(name: str = "shop", **labels: str) -> Object:
    metadata = {
        "name": name,
        "uid": f"uid-namespace-{name}",
        "resourceVersion": str(next(_versions)),
        "labels": labels,
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def a_mesh_config(text: str, name: str = "istio") -> Object:
    """The ConfigMap of the mesh's settings."""
    metadata = {
        "name": name,
        "namespace": "istio-system",
        "uid": f"uid-config-map-{name}",
        "resourceVersion": str(next(_versions)),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}
