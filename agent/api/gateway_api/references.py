"""How an object of the Gateway API names another one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Protocol, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from agent.api.gateway_api.fields import (
    Group,
    KindName,
    NamespaceName,
    ObjectName,
    PortNumber,
    SectionName,
    items,
)
from agent.api.gateway_api.objects import GROUP
from agent.api.strict import StrictPart


class LocalReference(StrictPart):
    """An object in the namespace of the one that names it."""

    group: Group
    kind: KindName
    name: ObjectName


class ObjectReference(LocalReference):
    namespace: NamespaceName = ""


class SecretReference(StrictPart):
    """Where a certificate is: a Secret, unless group and kind say otherwise."""

    group: Group = ""
    kind: KindName = "Secret"
    name: ObjectName
    namespace: NamespaceName = ""


class ParametersReference(LocalReference):
    """The parameters of a GatewayClass, cluster-scoped without a namespace."""

    namespace: NamespaceName = ""


class GatewayReference(StrictPart):
    """The Gateway that a ListenerSet adds to."""

    group: Group = GROUP
    kind: KindName = "Gateway"
    name: ObjectName
    namespace: NamespaceName = ""


class ParentReference(GatewayReference):
    """What a route attaches to: a Gateway, a ListenerSet, or (within the mesh) a Service."""

    section_name: SectionName = ""
    port: PortNumber | None = None


class BackendReference(StrictPart):
    """Where traffic goes: a Service, unless group and kind say otherwise."""

    group: Group = ""
    kind: KindName = "Service"
    name: ObjectName
    namespace: NamespaceName = ""
    port: PortNumber | None = None

    @model_validator(mode="after")
    def _service_has_a_port(self) -> Self:
        if self.port is None and self.kind == "Service" and not self.group:
            raise ValueError("port: missing; a Service needs it")
        return self


class WeightedBackend(BackendReference):
    """One of several backends, chosen in proportion to its weight; 0 takes no traffic."""

    weight: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = 1


class PolicyTarget(LocalReference):
    """What a policy is about: an object, or with a section one port or listener of it."""

    section_name: SectionName = ""


class _Sectioned(Protocol):
    @property
    def section_name(self) -> str: ...


def _tell_apart(same: Iterable[_Sectioned], name: str, accepted: str) -> None:
    """Raise unless references to one object are told apart in the same way, each by its own value."""
    told = [(item.section_name, getattr(item, "port", None)) for item in same]
    if len({(section != "", port is not None) for section, port in told}) > 1:
        raise ValueError(f"{name} is there {len(told)} times; accepted is {accepted} in all of them, or once")
    if len(set(told)) < len(told):
        raise ValueError(f"{name} is there {len(told)} times; accepted is another {accepted} in each, or once")


def _distinct_parents(parents: tuple[ParentReference, ...]) -> tuple[ParentReference, ...]:
    if len(parents) > 1:
        by_object = defaultdict(list)
        for parent in parents:
            by_object[parent.group, parent.kind, parent.namespace, parent.name].append(parent)
        for (_, kind, _, name), same in by_object.items():
            _tell_apart(same, f"{kind} {name}", "sectionName or port")
    return parents


def _distinct_targets(targets: tuple[PolicyTarget, ...]) -> tuple[PolicyTarget, ...]:
    by_object = defaultdict(list)
    for target in targets:
        by_object[target.group, target.kind, target.name].append(target)
    for (_, kind, name), same in by_object.items():
        _tell_apart(same, f"{kind} {name}", "sectionName")
    return targets


ParentReferences = Annotated[tuple[ParentReference, ...], items(32), AfterValidator(_distinct_parents)]
PolicyTargets = Annotated[tuple[PolicyTarget, ...], items(16, least=1), AfterValidator(_distinct_targets)]
