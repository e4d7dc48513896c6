"""Whether a kubeconfig is good for being the nodes of its cluster: asked before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.apiserver.cluster import ApiServer
from agent.apiserver.connection import Connection
from agent.errors import ForbiddenError, UnavailableError
from agent.kube import Object
from agent.lab.kubernetes.nodes import check_names

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# Verb, group, resource and subresource of the least that the lab's nodes do.
NEEDED = (
    ("create", "", "nodes", ""),
    ("watch", "", "pods", ""),
    ("patch", "", "pods", "status"),
    ("delete", "", "pods", ""),
    ("watch", "", "configmaps", ""),
    ("watch", "", "secrets", ""),
    ("create", "", "serviceaccounts", "token"),
    ("create", "", "events", ""),
    ("create", "coordination.k8s.io", "leases", ""),
    ("create", "discovery.k8s.io", "endpointslices", ""),
)


async def check(kubeconfig: Path, nodes: Iterable[str], lab: str) -> None:
    """ConfigError for a file that cannot be used, UnavailableError without an answer, ForbiddenError naming what the
    file's user may not do, ConflictError for a node of a name that is not the lab's."""
    connection = await Connection.open(kubeconfig)
    try:
        missing = [_named(*each) for each in NEEDED if not await _may(connection, *each)]
        if not missing:
            await check_names(ApiServer(connection), nodes, lab)
    except UnavailableError as exc:
        raise UnavailableError(f"kubeconfig {kubeconfig}: {exc}") from exc
    finally:
        await connection.close()
    if missing:
        raise ForbiddenError(f"kubeconfig {kubeconfig}: its user may not {', '.join(missing)}; use an administrator's")


async def _may(connection: Connection, verb: str, group: str, resource: str, part: str) -> bool:
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": part}
    body: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await connection.request("POST", _REVIEWS, body=body)
    return bool(answer["status"]["allowed"])


def _named(verb: str, group: str, resource: str, part: str) -> str:
    return f"{verb} {resource}{f'/{part}' if part else ''}{f'.{group}' if group else ''}"
