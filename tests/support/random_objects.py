"""Random values after a structural schema: mostly of the right types, often not what makes sense."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

V = TypeVar("V")
Json = dict[str, Any]

TEXTS = (
    *(
        "",
        "web",
        "*",
        "*.example.com",
        "web.shop.svc.cluster.local",
        "web-1",
        "A_B",
        "http",
        "80",
        "~",
        "./*",
        "shop/*",
    ),
    *("10.0.0.1", "10.0.0.0/8", "fd00::1", "1s", "0s", "-1s", "5ms", "1h30m", "5000h", "soon", "/path", "https://a/b"),
    *("cluster.local/ns/shop/sa/web", "request.headers[x]", "source.ip", "Service", "HTTPRoute", "HTTP"),
)
INTEGERS = (0, 1, -1, 3, 80, 100, 101, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
NUMBERS = (0, 0.5, 1, 100, 100.5, -1)
KEYS = ("app", "example.com/app", "80", "", "*")
WRONG = (1, 1.5, "web", True, [], [1], {}, {"web": "shop"})
UNFIT = 0.1  # how often a text or number is none that the schema's bounds let pass
SURPRISES = 0.01  # how often a value, a field or a member of an enumeration is not what the schema says


def value(schema: Json, random: Random, depth: int = 0) -> Any:
    """A value for the schema; deeper objects have fewer fields."""
    if random.random() < SURPRISES:
        return random.choice(WRONG)
    if "x-kubernetes-int-or-string" in schema:
        return random.choice((0, 1, "web", "50%"))
    if "enum" in schema:
        return random.choice(schema["enum"]) if random.random() >= SURPRISES else "UNHEARD_OF"
    match schema["type"]:
        case "object":
            return _object(schema, random, depth)
        case "array":
            least = min(schema.get("minItems", 0), 2)
            return [value(schema["items"], random, depth + 1) for _ in range(random.choice((least, 1, 1, 1, 2)))]
        case "string":
            return _fitting(TEXTS, lambda text: _has_form(text, schema), random)
        case "integer":
            return _fitting(INTEGERS, lambda number: _is_within(number, schema), random)
        case "number":
            return _fitting(NUMBERS, lambda number: _is_within(number, schema), random)
        case "boolean":
            return random.choice((True, False))
        case other:
            raise ValueError(f"no type of a structural schema: {other}")


def _fitting(values: tuple[V, ...], fits: Callable[[V], bool], random: Random) -> V:
    """Mostly a value that the bounds of the schema let pass; its rules may still say no."""
    good = [each for each in values if fits(each)]
    return random.choice(good if good and random.random() >= UNFIT else values)


def _has_form(text: str, schema: Json) -> bool:
    is_long_enough = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return is_long_enough and re.search(schema.get("pattern", ""), text) is not None


def _is_within(number: float, schema: Json) -> bool:
    return bool(schema.get("minimum", number) <= number <= schema.get("maximum", number))


def _object(schema: Json, random: Random, depth: int) -> Json:
    if "additionalProperties" in schema:
        keys = random.sample(KEYS, random.choice((0, 1, 1, 2)))
        return {key: value(schema["additionalProperties"], random, depth + 1) for key in keys}
    fields = schema.get("properties", {})
    wanted = random.choice((0, 1, 1, 2, 3)) if depth else random.choice((1, 2, 3, 4))
    chosen = set(random.sample(sorted(fields), min(wanted, len(fields))))
    chosen |= {name for name in schema.get("required", ()) if random.random() >= SURPRISES}
    made = {name: value(fields[name], random, depth + 1) for name in sorted(chosen)}
    return made | ({"unheardOf": 1} if random.random() < SURPRISES else {})
