"""The objects of a live cluster that are analysed: all of the kinds that an analyzer could ask for.

Objects that Kubernetes makes of others (EndpointSlices) are left out: nothing looks at them. What
may not be listed is named, so that nothing is said to be missing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.analysis.templates import TEMPLATED
from agent.api import registry
from agent.api.objects import NamedObject
from agent.api.strict import StrictObject
from agent.apiserver import listing
from agent.apiserver.connection import Connection
from agent.errors import ForbiddenError
from agent.kube import Kind, Object

_PLURALS: Final = {
    "Namespace": "namespaces",
    "Pod": "pods",
    "Service": "services",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "CronJob": "cronjobs",
    "Ingress": "ingresses",
    "NetworkPolicy": "networkpolicies",
    "CustomResourceDefinition": "customresourcedefinitions",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """What there is of one kind; `refusal` says why nobody knows."""

    model: type[NamedObject]
    objects: Sequence[Object] = ()
    refusal: str = ""


async def everything(connection: Connection) -> AsyncIterator[Listed]:
    """Each kind that the cluster serves, in the first of its versions. Fails as Connection.request says."""
    for model, versions in _models().items():
        kind = await _served(connection, versions)
        if kind is None:
            continue
        try:
            objects = await listing.everything(connection, kind)
        except ForbiddenError as exc:
            yield Listed(model, refusal=f"{kind.plural}: {exc}")
        else:
            yield Listed(model, objects)


async def _served(connection: Connection, versions: Sequence[Kind]) -> Kind | None:
    for kind in versions:
        if await listing.is_served(connection, kind):
            return kind
    return None


def _models() -> dict[type[NamedObject], list[Kind]]:
    """Each model with its kind in all versions, the preferred one first."""
    found: dict[type[NamedObject], list[Kind]] = {}
    for entry in registry.entries():
        plural = _plural(entry.model)
        if plural:
            kind = Kind(entry.api_version, entry.model.__name__, plural, entry.is_namespaced)
            found.setdefault(entry.model, []).append(kind)
    for (version, name), model in TEMPLATED.items():
        if name in _PLURALS:
            found[model] = [Kind(version, name, _PLURALS[name])]
    return found


def _plural(model: type[NamedObject]) -> str:
    return model.facts.plural if issubclass(model, StrictObject) else _PLURALS.get(model.__name__, "")
