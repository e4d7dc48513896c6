"""The definitions of Istio's and the Gateway API's kinds that the tests' API server has, and objects after them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from agent.api.gateway_api.kinds import KINDS as GATEWAY_API
from agent.api.strict import StrictObject
from tests.support.cluster_program import made
from tests.support.random_objects import value

OURS: Final = Path(__file__).parents[2] / "daemonset/crds"

Json = dict[str, Any]


@cache
def schema_of_spec(kind: type[StrictObject]) -> Json:
    """As the API server has it: of our definition, or of the Gateway API's own."""
    facts = kind.facts
    if kind in GATEWAY_API:
        found = read(made("definitions") / f"gateway-api/standard/{facts.group}_{facts.plural}.yaml")
    else:
        found = read(OURS / f"{facts.plural}.{facts.group}.yaml")
    schema: Json = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def read(path: Path) -> Json:
    found: Json = yaml.load(path.read_text(), yaml.CSafeLoader)
    return found


def a_random_object(kind: type[StrictObject], schema: Json, random: Random) -> Json:
    """One in namespace `default`, or in none."""
    within = {"namespace": "default"} if kind.facts.scope == "Namespaced" else {}
    return {
        "apiVersion": kind.facts.api_versions[0],
        "kind": kind.__name__,
        "metadata": {"name": "test", **within},
        "spec": value(schema, random),
    }
