"""Which model reads which kind of resource, by apiVersion and kind.

Models of an API group are imported when its first object comes: a node agent reads Pods, and
has no use for the memory that the models of all others take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from agent.api.objects import NamedObject
from agent.api.strict import StrictObject

GROUPS: Final = (
    "",
    "apps",
    "discovery.k8s.io",
    "networking.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "gateway.networking.k8s.io",
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A kind in one version of its API."""

    api_version: str
    model: type[NamedObject]
    is_namespaced: bool = True


def find(api_version: object, kind: object) -> Entry | None:
    """The kind of an object that says so of itself, None if nobody reads it."""
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return None
    group = api_version.rpartition("/")[0]
    return _of_group(group).get((api_version, kind)) if group in GROUPS else None


def entries() -> Iterator[Entry]:
    """All kinds in all their versions."""
    for group in GROUPS:
        yield from _of_group(group).values()


def accepted_beside(api_version: object, kind: object) -> str:
    """What an object of no known kind could have meant: its kind in another version, or a kind of its version."""
    same_kind = [entry for entry in entries() if entry.model.__name__ == kind]
    same_version = [entry for entry in entries() if entry.api_version == api_version]
    found = same_kind or same_version or list(entries())
    return ", ".join(f"{entry.api_version} {entry.model.__name__}" for entry in found)


@cache
def _of_group(group: str) -> Mapping[tuple[str, str], Entry]:
    found = _kubernetes(group) or _custom(group)
    return {(entry.api_version, entry.model.__name__): entry for entry in found}


def _kubernetes(group: str) -> list[Entry]:
    """The kinds that every API server has."""
    match group:
        case "":
            from agent.api.configuration import ConfigMap, Secret
            from agent.api.kubernetes import Namespace, Node, Pod, Service, ServiceAccount

            cluster_scoped = [Entry("v1", model, is_namespaced=False) for model in (Namespace, Node)]
            return [*cluster_scoped, *_namespaced("v1", Pod, Service, ServiceAccount, ConfigMap, Secret)]
        case "apps":
            from agent.api.kubernetes import Deployment

            return _namespaced("apps/v1", Deployment)
        case "discovery.k8s.io":
            from agent.api.cluster_network import EndpointSlice

            return _namespaced("discovery.k8s.io/v1", EndpointSlice)
        case "networking.k8s.io":
            from agent.api.cluster_network import Ingress, IngressClass, NetworkPolicy

            version = "networking.k8s.io/v1"
            return [*_namespaced(version, Ingress, NetworkPolicy), Entry(version, IngressClass, is_namespaced=False)]
    return _of_api_server(group)


def _of_api_server(group: str) -> list[Entry]:
    """The kinds that extend an API server; all are cluster-scoped."""
    from agent.api.api_server import (
        CustomResourceDefinition,
        MutatingWebhookConfiguration,
        ValidatingWebhookConfiguration,
    )

    models: dict[str, tuple[type[NamedObject], ...]] = {
        "admissionregistration.k8s.io": (MutatingWebhookConfiguration, ValidatingWebhookConfiguration),
        "apiextensions.k8s.io": (CustomResourceDefinition,),
    }
    return [Entry(f"{group}/v1", model, is_namespaced=False) for model in models.get(group, ())]


def _custom(group: str) -> list[Entry]:
    """The kinds that somebody has defined: those of the Gateway API, or of Istio."""
    kinds: Iterable[type[StrictObject]]
    if group == "gateway.networking.k8s.io":
        from agent.api.gateway_api.kinds import KINDS as kinds
    else:
        from agent.api.istio import KINDS as kinds
    return [
        Entry(version, model, model.facts.scope == "Namespaced")
        for model in kinds
        if model.facts.group == group
        for version in model.facts.api_versions
    ]


def _namespaced(version: str, *models: type[NamedObject]) -> list[Entry]:
    return [Entry(version, model) for model in models]
