"""What the mesh's processes answer to `weft status` and `weft explain`, all well unless it is given otherwise."""

from __future__ import annotations

from typing import Any

from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

NOW = 1_000_000.0
IDENTITY = "spiffe://cluster.local/ns/shop/sa/web"
ALLOW = {
    "kind": "AuthorizationPolicy",
    "namespace": "shop",
    "name": "allow",
    "action": "ALLOW",
    "scope": "workloads",
    "dry_run": False,
    "shortfalls": [],
    "resource": "shop/allow",
    "version": "v2",
}


def a_type(**other: Any) -> dict[str, Any]:
    return {"synced": True, "pending": 0, "sent": "1-1", "acked": "1-1", "nacks": 0, "last_nack": "", **other}


def a_syncz(*, refused: list[str] | None = None, problems: list[str] | None = None, **policies: Any) -> dict[str, Any]:
    refused = refused or []
    return {
        "synced": True,
        "resources": {ADDRESS_TYPE: 3, AUTHORIZATION_TYPE: 1},
        "proxies": [{"node": "node-1", "types": {ADDRESS_TYPE: a_type(), AUTHORIZATION_TYPE: a_type(**policies)}}],
        "refused": refused,
        "problems": [*refused, *(problems or [])],
    }


def a_certificate(**other: Any) -> dict[str, Any]:
    given = {"identity": IDENTITY, "state": "Available", "error": "", "not_after": NOW + 3600, "serial": "7"}
    return {**given, **other}


def a_proxy(**other: Any) -> dict[str, Any]:
    given = {
        "version": "0.1.0",
        "started": NOW - 60,
        "connected": True,
        "pending": [],
        "pods": ["uid-1"],
        "policies": {"shop/allow": "v2"},
        "certificates": [a_certificate()],
    }
    return {**given, **other}


def a_pod(**other: Any) -> dict[str, Any]:
    given = {
        "namespace": "shop",
        "name": "web",
        "uid": "uid-1",
        "state": "enrolled",
        "reason": "",
        "unusable": False,
        "sidecar": False,
        "injection": "",
        "without_effect": [],
    }
    return {**given, **other}


def a_workload(
    name: str, *, node: str, ip: str, account: str = "", enrolled: bool = True, **other: Any
) -> dict[str, Any]:
    """A workload of a proxy's dump; `name` is NAMESPACE/NAME."""
    namespace, _, short = name.partition("/")
    return {
        "uid": f"Kubernetes//Pod/{name}",
        "name": short,
        "namespace": namespace,
        "workloadIps": [ip],
        "protocol": "HBONE" if enrolled else "TCP",
        "node": node,
        "serviceAccount": account or short,
        "trustDomain": "cluster.local",
        "networkMode": "Standard",
        "status": "Healthy",
        "authorizationPolicies": [],
        **other,
    }


def a_listed_service(name: str, *pods: str, vips: tuple[str, ...] = ("10.96.0.1",), **other: Any) -> dict[str, Any]:
    """A service of a proxy's dump, port 80 on its pods' 8080."""
    namespace, _, short = name.partition("/")
    return {
        "name": short,
        "namespace": namespace,
        "hostname": f"{short}.{namespace}.svc.cluster.local",
        "vips": [f"/{vip}" for vip in vips],
        "ports": {"80": 8080},
        "endpoints": {f"Kubernetes//Pod/{pod}": {"port": {"80": 8080}} for pod in pods},
        "loadBalancer": {"mode": "Standard", "healthPolicy": "OnlyHealthy"},
        **other,
    }
