"""Whatever is written into an object of the Gateway API, the answer is an object or a refusal in words."""

from __future__ import annotations

from typing import Any

from hypothesis import given as with_any
from hypothesis import strategies as some

from agent.api.gateway_api.kinds import KINDS
from agent.api.kubernetes import parse
from agent.errors import InvalidObjectError
from tests.support.schema_fields import fields_of


def names_of(kind: Any) -> set[str]:
    """Every name of a field in the kind's spec, at any depth."""
    lines = fields_of(kind.model_fields["spec"].annotation.model_json_schema())
    return {step.rstrip("[]{}*") for line in lines for step in line.split()[0].split(".")}


NAMES = sorted({name for kind in KINDS for name in names_of(kind)})
TEXTS = some.sampled_from(
    ["", "a", "a.b", "*.a", "/a", "/a//b", "HTTP", "TLS", "Exact", "CORS", "10s", "A", "10.0.0.1"]
)
LEAVES = some.none() | some.booleans() | some.integers(-1, 70000) | TEXTS
VALUES = some.recursive(
    LEAVES,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)


@with_any(some.sampled_from(KINDS), some.data())
def test_any_object_is_read_or_refused_with_the_fields_that_are_wrong(kind: Any, data: some.DataObject) -> None:
    fields = [field.alias for field in kind.model_fields["spec"].annotation.model_fields.values()]
    spec = data.draw(some.dictionaries(some.sampled_from(fields), VALUES))
    version = data.draw(some.sampled_from(kind.facts.api_versions))
    given = {"apiVersion": version, "kind": kind.__name__, "metadata": {"name": "it"}, "spec": spec}
    try:
        assert parse(given, "f").metadata.name == "it"
    except InvalidObjectError as exc:
        assert exc.faults and str(exc).startswith(f"f: {kind.__name__} ")
