"""The definitions that are made from the models, against the facts of Istio's own and the rules of Kubernetes."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from agent.api import crds
from agent.api.istio import KINDS
from agent.api.strict import StrictObject
from tests.support.outline import outline, paths

ISTIO: Final = Path(__file__).parent / "istio-1.31.txt"
# A rule without these would be true of everything, and Istio's webhook refuses it as well.
REQUIRED_BY_US: Final = {
    "AuthorizationPolicy": {
        "spec.provider.name": "! string",
        "spec.rules.[].from.[].source": "! object",
        "spec.rules.[].to.[].operation": "! object",
    }
}

MESSAGES: Final = (
    "accepted ",
    *("address: ", "addresses: ", "endpoints: ", "portLevelMtls: ", "ports: ", "provider: ", "serviceAccounts: "),
    "waypoint: ",
)

definition = cache(crds.definition)
schema = cache(crds.schema)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def facts_of_istio() -> dict[str, list[str]]:
    """The outline of each kind."""
    found: dict[str, list[str]] = {}
    for line in ISTIO.read_text().splitlines():
        if not line.startswith("#"):
            if not line.startswith(" "):
                name = line.split()[0]
            found.setdefault(name, []).append(line)
    return found


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from nodes(each, f"{path}.{name}")
    for name, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if name in schema:
            yield from nodes(schema[name], path + mark)


def test_every_kind_of_istio_is_there() -> None:
    assert [kind.__name__ for kind in KINDS] == list(facts_of_istio())


@every_kind
def test_names_versions_fields_types_and_enumerations_are_istios(kind: type[StrictObject]) -> None:
    ours, theirs = outline(definition(kind)), facts_of_istio()[kind.__name__]
    assert ours[0] == theirs[0]
    assert paths(ours) == paths(theirs) | REQUIRED_BY_US.get(kind.__name__, {})


@every_kind
def test_every_field_is_described_in_a_sentence(kind: type[StrictObject]) -> None:
    spec = schema(kind)["properties"]["spec"]
    missing = [path for path, node in nodes(spec) if not path.endswith(("[]", "{}")) and not node.get("description")]
    assert missing == []


@every_kind
def test_the_schema_is_structural(kind: type[StrictObject]) -> None:
    for path, node in nodes(schema(kind)):
        is_number_or_text = "x-kubernetes-int-or-string" in node
        assert is_number_or_text or node["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert not node.keys() & {"$ref", "$defs", "title", "const", "propertyNames", "patternProperties"}, path
        assert ("items" in node) == (node.get("type") == "array"), path
        for condition in _conditions(node):
            assert set(condition) <= {"required"}, path
            assert set(condition["required"]) <= node["properties"].keys(), path


def _conditions(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("oneOf", "anyOf", "allOf"):
        for each in node.get(name, ()) if "x-kubernetes-int-or-string" not in node else ():
            if "not" in each:
                yield from _conditions(each["not"])
            elif name == "allOf":
                yield from _conditions(each)
            else:
                yield each


@every_kind
def test_rules_speak_of_fields_that_are_there(kind: type[StrictObject]) -> None:
    for path, node in nodes(schema(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"].startswith(MESSAGES), rule
            named = set(re.findall(r"\bself\.(\w+)\b(?!\()", rule["rule"]))
            assert named <= node.get("properties", {}).keys(), (path, rule)


@every_kind
def test_defaults_are_values_of_enumerations_outside_of_lists(kind: type[StrictObject]) -> None:
    for path, node in nodes(schema(kind)):
        if "default" in node:
            assert node["default"] in node["enum"] and "[]" not in path, path


def test_an_enumeration_says_what_its_absence_means() -> None:
    policy = schema(next(kind for kind in KINDS if kind.__name__ == "AuthorizationPolicy"))
    assert policy["properties"]["spec"]["properties"]["action"] == {
        "description": "What a match means; as soon as there is an ALLOW policy, what none of them allows is denied.",
        "enum": ["ALLOW", "DENY", "AUDIT", "CUSTOM"],
        "type": "string",
        "default": "ALLOW",
    }


def test_a_definition_is_kept_at_uninstall_and_may_be_taken_over_by_helm() -> None:
    metadata = definition(KINDS[0])["metadata"]
    assert metadata["annotations"] == {
        "helm.sh/resource-policy": "keep",
        "meta.helm.sh/release-name": "istio-base",
        "meta.helm.sh/release-namespace": "istio-system",
    }
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
