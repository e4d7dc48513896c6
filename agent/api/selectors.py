"""What a resource applies to: workloads by their labels, or objects by reference."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StrictStr

from agent.api.strict import Rule, StrictPart, rule

_NO_WILDCARD = Rule[str](
    "!self.contains('*')", "accepted is a label's value; a wildcard is not", lambda it: "*" not in it
)
_KEYS = Rule[dict[str, str]](
    "self.all(key, key.size() != 0 && !key.contains('*'))",
    "accepted are keys of labels, not empty and without a wildcard",
    lambda labels: all(key and "*" not in key for key in labels),
)

LabelValue = Annotated[StrictStr, Field(max_length=63), _NO_WILDCARD]


class WorkloadSelector(StrictPart):
    """Labels that all must match; none match every workload."""

    match_labels: Annotated[dict[StrictStr, LabelValue], Field(max_length=4096), _KEYS] = Field(default_factory=dict)
    """Labels, each of which a workload must have."""


class NetworkingSelector(StrictPart):
    """The selector of networking.istio.io, which spells its labels otherwise."""

    labels: Annotated[dict[StrictStr, LabelValue], Field(max_length=256)] = Field(default_factory=dict)
    """Labels, each of which a workload must have."""


_TARGETS: Final = (
    "/Service",
    "core/Service",
    "networking.istio.io/ServiceEntry",
    "gateway.networking.k8s.io/Gateway",
    "gateway.networking.k8s.io/GatewayClass",
)


class TargetReference(StrictPart):
    """An object in the namespace of the resource, that its settings are for."""

    group: Annotated[
        StrictStr,
        Field(max_length=253, pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
    ] = ""
    """API group of the object; empty for Kubernetes' core."""
    kind: Annotated[StrictStr, Field(min_length=1, max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")]
    """Kind of the object."""
    name: Annotated[StrictStr, Field(min_length=1, max_length=253)]
    """Name of the object."""
    namespace: Annotated[
        StrictStr,
        Rule[str](
            "self.size() == 0", "accepted is no namespace; the object is in that of the resource", lambda it: not it
        ),
    ] = ""
    """Reserved: references do not leave their namespace."""

    @rule(
        f"((has(self.group) ? self.group : '') + '/' + self.kind) in {list(_TARGETS)}",
        f"accepted are {', '.join(target.removeprefix('/') for target in _TARGETS)}",
    )
    def _is_known(self) -> bool:
        return f"{self.group}/{self.kind}" in _TARGETS


TargetReferences = Annotated[tuple[TargetReference, ...], Field(max_length=16)]
