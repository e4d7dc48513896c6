"""What the models of all Kubernetes objects have in common: their parts and their metadata."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator
from pydantic.alias_generators import to_camel

from agent.api.fields import Labels, Name, OptionalName


class Part(BaseModel):
    """A JSON object: camelCase names, unknown ones ignored, null means absent."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not None}
        return value


class OwnerReference(Part):
    kind: StrictStr
    name: StrictStr
    controller: StrictBool = False


class ObjectMeta(Part):
    """metadata of every object; `namespace` is empty for cluster-scoped ones."""

    name: Name
    namespace: OptionalName = ""
    uid: StrictStr = ""
    resource_version: StrictStr = ""
    generation: StrictInt = 0  # counts changes of the spec; a state directory counts none
    creation_timestamp: StrictStr = ""
    deletion_timestamp: StrictStr = ""  # set: the object is terminating
    labels: Labels = Field(default_factory=dict)
    annotations: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()


class NamedObject(Part):
    """A whole object."""

    metadata: ObjectMeta

    @property
    def full_name(self) -> str:
        """NAMESPACE/NAME, or NAME for a cluster-scoped object."""
        return f"{self.metadata.namespace}/{self.metadata.name}".removeprefix("/")
