"""A definition of a resource in few lines: its names and versions, then its fields with their types.

A level is two blanks deep.
`!` marks a required field, `?` one that may be null, `*` one with free content; the values of an
enumeration stand behind the type. What stands for the items of a list is named [], for the
values of a map {}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def outline(definition: Json) -> list[str]:
    """All versions must have one schema; ValueError if they do not."""
    spec = definition["spec"]
    names = spec["names"]
    first, *others = (version["schema"] for version in spec["versions"])
    if any(other != first for other in others):
        raise ValueError(f"{definition['metadata']['name']}: the versions have different schemas")
    versions = sorted(version["name"] + ("=" if version["storage"] else "") for version in spec["versions"])
    head = [names["kind"], spec["group"], spec["scope"], names["plural"], names["singular"], names["listKind"]]
    tail = [*versions, *names.get("shortNames", []), *names["categories"], *_columns(spec["versions"][0])]
    schema = first["openAPIV3Schema"]
    fields = _fields(schema["properties"]["spec"], "spec", "spec" in schema.get("required", ()), 1)
    return [" ".join(head + tail), *fields]


def _columns(version: Json) -> list[str]:
    return [f"{each['name']}:{each['jsonPath']}:{each['type']}" for each in version.get("additionalPrinterColumns", ())]


def _fields(schema: Json, name: str, is_required: bool, depth: int) -> Iterator[str]:
    marks = [
        mark
        for mark, holds in (
            ("!", is_required),
            ("?", schema.get("nullable")),
            ("*", schema.get("x-kubernetes-preserve-unknown-fields")),
        )
        if holds
    ]
    yield "  " * depth + " ".join([name + "".join(marks), schema["type"], *schema.get("enum", ())])
    if "items" in schema:
        yield from _fields(schema["items"], "[]", False, depth + 1)
    if "additionalProperties" in schema:
        yield from _fields(schema["additionalProperties"], "{}", False, depth + 1)
    for field, value in sorted(schema.get("properties", {}).items()):
        yield from _fields(value, field, field in schema.get("required", ()), depth + 1)


def paths(lines: list[str]) -> dict[str, str]:
    """What stands in an outline of a field, by its path such as spec.http.[].name; the head has none."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in lines[1:]:
        name, *rest = line.split()
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth - 1 :] = [name.rstrip("!?*")]
        found[".".join(above)] = " ".join([name.removeprefix(above[-1]), *rest])
    return found
