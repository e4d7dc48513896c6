"""CustomResourceDefinitions made from the models of Istio's kinds. Pure rules; scripts/crds.py writes them.

The schemas are structural (apiextensions.k8s.io/v1): an API server with them drops fields that it
does not know and refuses what the models refuse, as far as one object can say it. A default is
stated for enumerations only, where it is what protobuf takes absence for, and never within a
list: tools that compare lists as a whole would find an object different from what was applied.
Alternatives among fields are rules in CEL, which say what is wrong, but conditions of the schema
within lists and maps, where an API server would find the rules too costly.

Name, labels and annotations are those that Istio's own definitions have, and those by which Helm
knows what it may take over. So either can be applied in place of the other, and uninstalling one
mesh keeps the definition, and with it everybody's resources.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from agent.api.strict import ONE_OFS, VALIDATIONS, StrictObject

_REFERENCE: Final = "#/$defs/"
_DROPPED: Final = (
    *("$defs", "$ref", "title", "default", "const", "anyOf"),
    *("additionalProperties", "propertyNames", "properties", ONE_OFS),
)
_LABELS: Final = {
    "app": "istio-pilot",
    "app.kubernetes.io/managed-by": "Helm",
    "chart": "istio",
    "heritage": "Tiller",
    "release": "istio",
}
_ANNOTATIONS: Final = {
    "helm.sh/resource-policy": "keep",
    "meta.helm.sh/release-name": "istio-base",
    "meta.helm.sh/release-namespace": "istio-system",
}
_OWN_LABEL: Final = {"security.istio.io": "security", "telemetry.istio.io": "telemetry"}  # value of the label `istio`

_INTEGER_OR_TEXT: Final = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}


def _objects(properties: JsonSchemaValue) -> JsonSchemaValue:
    return {"type": "array", "items": {"type": "object", "properties": properties}}


_STATUS: Final = {  # meta/v1alpha1/status.proto; controllers may add their own fields
    "description": "What controllers say of the object.",
    "type": "object",
    "properties": {
        "conditions": _objects(
            {
                "lastProbeTime": _TIME,
                "lastTransitionTime": _TIME,
                "message": _TEXT,
                "observedGeneration": _INTEGER_OR_TEXT,
                "reason": _TEXT,
                "status": _TEXT,
                "type": _TEXT,
            }
        ),
        "observedGeneration": _INTEGER_OR_TEXT,
        "validationMessages": _objects(
            {
                "documentationUrl": _TEXT,
                "level": {"type": "string", "enum": ["UNKNOWN", "ERROR", "WARNING", "INFO"]},
                "type": {"type": "object", "properties": {"code": _TEXT, "name": _TEXT}},
            }
        ),
    },
    "x-kubernetes-preserve-unknown-fields": True,
}


def definition(kind: type[StrictObject]) -> JsonSchemaValue:
    """The CustomResourceDefinition of a kind, with one schema for all its versions."""
    facts, name = kind.facts, kind.__name__
    labels = _LABELS | ({"istio": _OWN_LABEL[facts.group]} if facts.group in _OWN_LABEL else {})
    names = {"kind": name, "listKind": f"{name}List", "plural": facts.plural, "singular": name.lower()}
    shared = {
        "additionalPrinterColumns": [_column(column) for column in facts.columns],
        "schema": {"openAPIV3Schema": schema(kind)},
        "subresources": {"status": {}},
    }
    versions = [
        {"name": version, "served": True, "storage": number == 0, **{key: each for key, each in shared.items() if each}}
        for number, version in enumerate(facts.versions)
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{facts.plural}.{facts.group}", "labels": labels, "annotations": _ANNOTATIONS},
        "spec": {
            "group": facts.group,
            "names": names
            | {"categories": [*facts.categories]}
            | ({"shortNames": [*facts.short_names]} if facts.short_names else {}),
            "scope": facts.scope,
            "versions": versions,
        },
    }


def schema(kind: type[StrictObject]) -> JsonSchemaValue:
    """The structural schema of a kind's objects."""
    spec = kind.model_fields["spec"].annotation
    assert isinstance(spec, type) and issubclass(spec, BaseModel)
    generated = spec.model_json_schema(schema_generator=_Described)
    generated["description"] = _sentence(spec) or descriptions(kind)["spec"]
    found = {
        "description": _sentence(kind),
        "type": "object",
        "properties": {"spec": _structural(generated, generated.get("$defs", {}), repeated=False), "status": _STATUS},
    }
    return found | ({"required": ["spec"]} if kind.facts.needs_spec else {})


def _column(column: Any) -> JsonSchemaValue:
    return {"name": column.name, "jsonPath": column.path, "type": column.type}


class _Described(GenerateJsonSchema):
    """Pydantic's schemas, with what stands below each field of a class as its description."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        properties: dict[str, JsonSchemaValue] = found.get("properties", {})
        for name, text in descriptions(model).items():
            for spelling in _spellings(name, model.model_fields[name]):
                original = properties[_spellings(name, model.model_fields[name])[0]]
                properties[spelling] = {**original, "description": text}
        return {**found, "properties": properties, "description": _sentence(model)}


def _spellings(name: str, field: FieldInfo) -> list[str]:
    """What a field is called in JSON; the first is the usual one."""
    if isinstance(field.validation_alias, AliasChoices):
        return [choice for choice in field.validation_alias.choices if isinstance(choice, str)]
    return [field.alias or name]


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field, by the field's name in Python; those of base classes come first."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= {name: text for name, text in _texts_below_fields(each) if name in model.model_fields}
    return found


def _texts_below_fields(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, " ".join(words.split())


def _sentence(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _structural(given: Mapping[str, Any], parts: Mapping[str, Any], *, repeated: bool) -> JsonSchemaValue:
    """A schema without references, titles, null types, and what else a structural one must not have."""
    node = _resolved(given, parts)
    found = {key: value for key, value in node.items() if key not in _DROPPED}
    found |= _alternatives(node, repeated)
    if "const" in node:
        found |= {"type": "string", "enum": [node["const"]]}
    if "enum" in found and not repeated and isinstance(node.get("default"), str):
        found["default"] = node["default"]
    if "items" in node:
        found["items"] = _structural(node["items"], parts, repeated=True)
    if isinstance(values := node.get("additionalProperties"), dict):
        found["additionalProperties"] = _structural(values, parts, repeated=True)
    if "properties" in node:
        found["properties"] = {
            name: _structural(value, parts, repeated=repeated) for name, value in sorted(node["properties"].items())
        }
    return found


def _alternatives(node: Mapping[str, Any], repeated: bool) -> JsonSchemaValue:
    one_ofs = node.get(ONE_OFS, ())
    if not one_ofs:
        return {}
    if not repeated:
        return {VALIDATIONS: [*node.get(VALIDATIONS, ()), *(one_of["rule"] for one_of in one_ofs)]}
    conditions = [one_of["condition"] for one_of in one_ofs]
    return {"allOf": conditions} if len(conditions) > 1 else conditions[0]


def _resolved(given: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The schema itself, where it is given by reference or as one that may also be null."""
    node = dict(given)
    if isinstance(types := node.get("anyOf"), list) and {"type": "null"} in types:
        (of_value,) = (each for each in types if each != {"type": "null"})
        del node["anyOf"]
        node = {**of_value, **node}
    if "$ref" in node:
        named = parts[node.pop("$ref").removeprefix(_REFERENCE)]
        return _resolved({**named, **node}, parts)
    return node
