"""env and envFrom: where a container's environment comes from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from agent.api.kubernetes import FieldReference
from agent.api.objects import Part
from agent.api.pods.quantities import Quantity, quantity

_Divisor = Annotated[Quantity, AfterValidator(lambda value: value if quantity(value) else "1")]  # 0 is 1 there
_Key = Annotated[StrictStr, Field(min_length=1)]
ComputeResource = Literal["limits.cpu", "limits.memory", "requests.cpu", "requests.memory"]


class ResourceFieldReference(Part):
    """A container's own requests or limits, divided and rounded up; a limit that is not set is the node's whole."""

    resource: ComputeResource
    container_name: StrictStr = ""  # required in a volume, the container itself in its environment
    divisor: _Divisor = "1"


class KeyReference(Part):
    """One key of a ConfigMap or Secret; an optional one may be missing, with its object."""

    name: StrictStr
    key: _Key
    optional: StrictBool = False


class VariableSource(Part):
    """Exactly one of the four."""

    field_ref: FieldReference | None = None
    resource_field_ref: ResourceFieldReference | None = None
    config_map_key_ref: KeyReference | None = None
    secret_key_ref: KeyReference | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.field_ref, self.resource_field_ref, self.config_map_key_ref, self.secret_key_ref)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("accepted is exactly one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef")
        return self


class Variable(Part):
    name: _Key
    value: StrictStr = ""
    value_from: VariableSource | None = None


class ObjectReference(Part):
    """A ConfigMap or Secret as a whole."""

    name: StrictStr
    optional: StrictBool = False


class VariablesSource(Part):
    """envFrom: every key of an object becomes a variable."""

    prefix: StrictStr = ""
    config_map_ref: ObjectReference | None = None
    secret_ref: ObjectReference | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config_map_ref is None) == (self.secret_ref is None):
            raise ValueError("accepted is exactly one of configMapRef, secretRef")
        return self
