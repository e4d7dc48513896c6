"""The foundation of the models that are read strictly: Istio's and the Gateway API's resources.

A resource says what its author meant, or it is refused: unknown fields, texts where numbers
belong and two of what excludes each other all make it invalid. What a model states here is
stated once. The Python check and the schema of the CustomResourceDefinition both come from it:

- types, bounds and enumerations from the annotations of the fields;
- alternatives among fields from `one_ofs`;
- what is wrong in a combination from methods under `rule`, what is wrong in a value from `Rule`
  in a field's annotation. Each carries the same claim in CEL, Kubernetes' language for rules.

A field is described by the text below it. Absent message-like fields are None; absent scalars
have the value that protobuf gives them ("" or 0 or False), and `model_fields_set` knows which
were written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictStr,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from agent.api.objects import NamedObject, Part

P = TypeVar("P", bound=BaseModel)
T = TypeVar("T")

VALIDATIONS: Final = "x-kubernetes-validations"
ONE_OFS: Final = "x-one-ofs"  # of a schema from here, until agent/api/crds.py has chosen between their two forms


@dataclass(frozen=True, slots=True)
class OneOf:
    """Fields, as JSON spells them, of which at most one may be there; one must be, if it is required."""

    fields: tuple[str, ...]
    is_required: bool = False

    def check(self, given: Mapping[str, object]) -> None:
        """Raises ValueError if the object has more of them, or too few."""
        found = sum(name in given for name in self.fields)
        if found > 1 or (self.is_required and not found):
            raise ValueError(self.message)

    @property
    def condition(self) -> JsonSchemaValue:
        """It as a part of a schema: free of cost for an API server, which says little if it fails."""
        single: list[JsonSchemaValue] = [{"required": [name]} for name in self.fields]
        return {"oneOf": single if self.is_required else [{"not": {"anyOf": single}}, *single]}

    @property
    def rule(self) -> JsonSchemaValue:
        """It in CEL, with a message."""
        count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in self.fields)
        return {"rule": f"{count} {'==' if self.is_required else '<='} 1", "message": self.message}

    @property
    def message(self) -> str:
        count = "exactly one" if self.is_required else "at most one"
        return f"accepted is {count} of {', '.join(self.fields)}"


@dataclass(frozen=True)
class Rule(Generic[T]):
    """What must hold for a value, in CEL and in Python; stands in the annotation of a field.

    message: what is accepted, for both.
    """

    cel: str
    message: str
    holds: Callable[[T], bool]

    @property
    def schema(self) -> JsonSchemaValue:
        return {"rule": self.cel, "message": self.message}

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        return {**found, VALIDATIONS: [*found.get(VALIDATIONS, ()), self.schema]}

    def _check(self, value: T) -> T:
        if not self.holds(value):
            raise ValueError(self.message)
        return value


@dataclass(frozen=True, slots=True)
class KeyedBy:
    """Makes a list a map for an API server: no two items have the same value of a field; stands in its annotation.

    field: as JSON spells it; it must be one word, and required in the items.
    """

    field: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.field]}
        return {**handler(schema), **keys}

    def _check(self, items: tuple[BaseModel, ...]) -> tuple[BaseModel, ...]:
        keys = [getattr(item, self.field) for item in items]
        if len(set(keys)) < len(keys):
            raise ValueError(f"accepted is each {self.field} once")
        return items


def rule(cel: str, message: str) -> Callable[[Callable[[P], bool]], object]:
    """Makes a method of a part, which says whether a claim holds, a rule of its model and of its schema.

    cel: the same claim, `self` being the part. message: what is accepted.
    """

    def stated(holds: Callable[[P], bool]) -> object:
        def check(self: P) -> P:
            if not holds(self):
                raise ValueError(message)
            return self

        check.__dict__["rule"] = {"rule": cel, "message": message}
        return model_validator(mode="after")(check)

    return stated


class StrictPart(Part):
    """A JSON object of which every field is known; null means absent."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    one_ofs: ClassVar[tuple[OneOf, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_of_each(cls, value: object) -> object:
        if cls.one_ofs and isinstance(value, Mapping):
            given = {name: item for name, item in value.items() if item is not None}
            for one_of in cls.one_ofs:
                one_of.check(given)
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler.resolve_ref_schema(handler(schema))
        rules = [stated for name in dir(cls) if (stated := getattr(getattr(cls, name, None), "rule", None))]
        if rules:
            found[VALIDATIONS] = rules
        if cls.one_ofs:
            found[ONE_OFS] = [{"condition": one_of.condition, "rule": one_of.rule} for one_of in cls.one_ofs]
        return found


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"


AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an API server must know of a kind besides its schema.

    versions: those served, all with one schema, the stored one first. needs_spec: an object
    without a spec is refused.
    """

    group: str
    plural: str
    versions: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    scope: str = "Namespaced"
    needs_spec: bool = False

    @property
    def api_versions(self) -> tuple[str, ...]:
        return tuple(f"{self.group}/{version}" for version in self.versions)


class StrictObject(NamedObject):
    """A whole object that is read strictly, but for its status, which is no author's word."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    facts: ClassVar[Facts]

    api_version: StrictStr
    kind: StrictStr
    status: object = None

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first."""
        return self.metadata.creation_timestamp, self.metadata.namespace, self.metadata.name


class Condition(Part):
    """An entry of a status's conditions."""

    type: StrictStr = ""
    status: StrictStr = ""
    reason: StrictStr = ""
    message: StrictStr = ""


class Status(Part):
    """The part of a status that somebody reads."""

    conditions: tuple[Condition, ...] = Field(default=())
