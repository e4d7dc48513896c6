"""Which objects are judged at all: those of kinds that the mesh reads, and what is surely meant to be one."""

from __future__ import annotations

from typing import Final

from agent.api import registry

MESH_GROUPS: Final = (
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "gateway.networking.k8s.io",
)
_OTHERS: Final = frozenset({"UDPRoute"})  # kinds of those groups that nobody here reads


def is_judged(api_version: object, kind: object) -> bool:
    """Whether an object must be valid, or be called unknown.

    Objects of groups that the mesh has nothing to do with are none of its business, and neither
    are Kubernetes' own of kinds that it does not read. A kind that it does read, in a version or
    group of its neighbours that has no such kind, is a mistake.
    """
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return True
    if registry.find(api_version, kind) is not None:
        return True
    group = api_version.rpartition("/")[0]
    if group in MESH_GROUPS:
        return kind not in _OTHERS
    return group in registry.GROUPS and any(entry.model.__name__ == kind for entry in registry.entries())
