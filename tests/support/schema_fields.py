"""Schemas as lists of fields, so that two can be compared: a CRD's and a model's.

    python -m tests.support.schema_fields CRD.yaml… > fields.txt

writes down what CustomResourceDefinitions say of the specs of their kinds, a line for each field:

    HTTPRoute v1 v1beta1
      rules[].retry.codes[] integer 400..599
      rules[].filters[].type* string GET|HEAD

with * for a required field, and what is stated of enumeration, bounds, sizes and default.
Patterns are left out: there are many ways to write one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Schema = Mapping[str, Any]
_SIZES = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))


def fields_of(schema: Schema) -> list[str]:
    """One line for each field below the schema's root, sorted."""
    return sorted(_below(schema, "", schema.get("$defs", {})))


def _below(schema: Schema, path: str, parts: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        field = _plain(given, parts)
        here = f"{path}.{name}".removeprefix(".")
        yield " ".join([here + "*" * (name in required), *_facts(field)])
        yield from _inside(field, here, parts)


def _inside(field: Schema, here: str, parts: Schema) -> Iterator[str]:
    if "items" in field:
        item = _plain(field["items"], parts)
        yield " ".join([f"{here}[]", *_facts(item)])
        yield from _inside(item, f"{here}[]", parts)
    if isinstance(field.get("additionalProperties"), Mapping):
        value = _plain(field["additionalProperties"], parts)
        yield " ".join([f"{here}{{}}", *_facts(value)])
        yield from _inside(value, f"{here}{{}}", parts)
    yield from _below(field, here, parts)


def _plain(given: Schema, parts: Schema) -> Schema:
    """The schema itself, where a model gives it by reference, or as one that may be null."""
    field = dict(given)
    if {"type": "null"} in field.get("anyOf", ()):
        (of_value,) = (each for each in field.pop("anyOf") if each != {"type": "null"})
        field = {**_plain(of_value, parts), **{key: value for key, value in field.items() if value is not None}}
    if isinstance(anywhere := field.get("anyOf"), list) and all("const" in each or "enum" in each for each in anywhere):
        field |= {
            "type": "string",
            "enum": [word for each in anywhere for word in each.get("enum", [each.get("const")])],
        }
    if "$ref" in field:
        field = {**_plain(parts[field.pop("$ref").rpartition("/")[2]], parts), **field}
    if "const" in field:
        field["enum"] = [field["const"]]
    return field


def _facts(field: Schema) -> Iterator[str]:
    yield str(field.get("type", "any"))
    if "enum" in field:
        yield "|".join(str(value) for value in sorted(field["enum"], key=str))
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None or high is not None:
        yield f"{'' if low is None else f'{low:g}'}..{'' if high is None or high >= 2**31 - 1 else f'{high:g}'}"
    for least, most in _SIZES:
        if field.get(least) or most in field:
            yield f"#{field.get(least, 0)}..{field.get(most, '')}"
    if default := _written(field.get("default")):
        yield "= " + json.dumps(default, sort_keys=True)


def _written(default: object) -> object:
    """A default without what is empty anyway."""
    if isinstance(default, Mapping):
        return {key: kept for key, value in default.items() if (kept := _written(value))}
    if isinstance(default, list | tuple):
        return [_written(value) for value in default]
    return default


def read(text: str) -> dict[tuple[str, str], list[str]]:
    """The lists of a file that main() wrote, by kind and version; a first line with # is a remark."""
    found: dict[tuple[str, str], list[str]] = {}
    lists = text.partition("\n")[2] if text.startswith("#") else text
    for block in lists.strip().split("\n\n"):
        head, *lines = block.splitlines()
        kind, *versions = head.split()
        found |= {(kind, version): [line.strip() for line in lines] for version in versions}
    return found


def main(paths: list[str]) -> None:
    for path in paths:
        for definition in yaml.safe_load_all(Path(path).read_text()):
            if definition and definition.get("kind") == "CustomResourceDefinition":
                _write(definition["spec"])


def _write(spec: Schema) -> None:
    versions: dict[str, list[str]] = {}
    for version in spec["versions"]:
        if version["served"]:
            lines = fields_of(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
            versions.setdefault("\n".join(f"  {line}" for line in lines), []).append(version["name"])
    for text, names in versions.items():
        print(spec["names"]["kind"], *names)
        print(text, end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
