"""What the Gateway API's objects have in common: their group, and the conditions that they report."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import StrictInt, StrictStr

from agent.api.objects import Part
from agent.api.strict import AGE, Facts, StrictObject

GROUP: Final = "gateway.networking.k8s.io"


def gateway_api(plural: str, *versions: str, scope: str = "Namespaced") -> Facts:
    """Facts of one of its kinds; the stored version comes first."""
    return Facts(GROUP, plural, versions, columns=(AGE,), scope=scope, needs_spec=True)


class GatewayObject(StrictObject):
    @property
    def version(self) -> str:
        """The API's version without its group, "v1" for example."""
        return self.api_version.rpartition("/")[2]


class Condition(Part):
    """One statement about an object, by the controller that looks after it."""

    type: StrictStr
    status: Literal["True", "False", "Unknown"]
    reason: StrictStr = ""
    message: StrictStr = ""
    observed_generation: StrictInt = 0
    last_transition_time: StrictStr = "1970-01-01T00:00:00Z"


def pending(*types: str) -> tuple[Condition, ...]:
    """The conditions that an object is born with: no controller has seen it yet."""
    return tuple(
        Condition(type=type, status="Unknown", reason="Pending", message="Waiting for controller") for type in types
    )
