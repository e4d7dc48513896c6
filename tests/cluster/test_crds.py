"""The definitions of Istio's kinds in a real API server: it takes them, and judges objects as the models do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.api.istio import KINDS
from tests.support.cluster import ControlPlane, KubectlError
from tests.support.cluster_program import made
from tests.support.istio_faults import BAD
from tests.support.istio_objects import GOOD, an_object
from tests.support.outline import outline

ROOT = Path(__file__).parents[2]
OURS = ROOT / "daemonset" / "crds"
OUTLINES = ROOT / "tests" / "unit" / "api" / "istio-1.31.txt"
NAMES = [f"{kind.facts.plural}.{kind.facts.group}" for kind in KINDS]
RULES = "x-kubernetes-validations"
EVERY_VERSION = [(kind.__name__, version) for kind in KINDS for version in kind.facts.api_versions]


@pytest.fixture(scope="module")
def istio(plane: ControlPlane) -> None:
    """Our definitions, established."""
    apply(plane, "--kustomize", OURS)


def apply(plane: ControlPlane, *source: str | Path) -> None:
    plane.kubectl("apply", "--server-side", "--force-conflicts", *map(str, source))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *NAMES)


def try_out(plane: ControlPlane, object: dict[str, Any]) -> dict[str, Any]:
    """What would be stored, without storing it; KubectlError with the API server's complaint."""
    arguments = ("--dry-run=server", "--validate=strict", "--output=json", "--filename=-")
    stored: dict[str, Any] = json.loads(plane.kubectl("create", *arguments, stdin=json.dumps(object)))
    return stored


def create(plane: ControlPlane, *objects: dict[str, Any]) -> None:
    plane.kubectl("create", "--filename=-", stdin="\n---\n".join(map(json.dumps, objects)))


def istios_own() -> list[dict[str, Any]]:
    text = (made("definitions") / "istio.yaml").read_text()
    return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def test_the_outlines_that_the_unit_lane_compares_with_are_istios() -> None:
    written = [line for line in OUTLINES.read_text().splitlines() if not line.startswith("#")]
    assert written == [line for found in istios_own() for line in outline(found)]


@pytest.mark.usefixtures("istio")
@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_structural_for_the_api_server(plane: ControlPlane, name: str) -> None:
    conditions = json.loads(plane.kubectl("get", "crd", name, "--output=json"))["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions} == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.usefixtures("istio")
@pytest.mark.parametrize(("kind", "version"), EVERY_VERSION)
def test_an_object_is_stored_as_it_was_written(plane: ControlPlane, kind: str, version: str) -> None:
    given = {**an_object(kind, GOOD[kind], namespace="default"), "apiVersion": version}
    stored = try_out(plane, given)["spec"]
    assert with_defaults(given["spec"], stored) == stored


def with_defaults(written: Any, stored: Any) -> Any:
    """What was written, and the enumerations that the API server has added to it."""
    if not isinstance(written, dict):
        return written
    added = {name: value for name, value in stored.items() if name not in written and isinstance(value, str)}
    return {name: with_defaults(value, stored.get(name, {})) for name, value in written.items()} | added


@pytest.mark.usefixtures("istio")
@pytest.mark.parametrize(("kind", "spec", "field", "says"), BAD)
def test_what_the_models_refuse_is_refused_at_the_same_field(
    plane: ControlPlane, kind: str, spec: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(KubectlError) as caught:
        try_out(plane, an_object(kind, spec, namespace="default"))
    complaint = re.sub(r"\[([a-z]+)\]", r".\1", str(caught.value))  # keys of maps
    assert field in complaint
    is_rule = any(says in message for message in messages(kind))
    assert not is_rule or says in complaint


def messages(kind: str) -> list[str]:
    """What the rules of a kind's definition say, wherever in the schema they stand."""
    text = next(OURS.glob(f"{next(each.facts.plural for each in KINDS if each.__name__ == kind)}.*")).read_text()
    (first, *_) = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    return [rule["message"] for node in nodes(first["schema"]["openAPIV3Schema"]) for rule in node.get(RULES, ())]


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for each in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if each:
            yield from nodes(each)


@pytest.mark.usefixtures("istio")
def test_columns_and_categories_show_what_matters(plane: ControlPlane, namespace: str) -> None:
    policy = an_object("AuthorizationPolicy", {"rules": []}, namespace=namespace)
    entry = an_object("ServiceEntry", {"hosts": ["a.example.com"]}, namespace=namespace)
    create(plane, policy, entry)
    assert plane.kubectl("get", "ap", "--namespace", namespace).split()[:5] == ["NAME", "ACTION", "AGE", "a", "ALLOW"]
    listed = plane.kubectl("get", "istio-io", "--namespace", namespace, "--output=name").split()
    assert listed == ["serviceentry.networking.istio.io/a", "authorizationpolicy.security.istio.io/a"]


@pytest.mark.usefixtures("istio")
def test_istios_definitions_and_ours_take_each_others_place_and_objects_stay(
    plane: ControlPlane, namespace: str
) -> None:
    create(plane, *(an_object(kind, spec, namespace=namespace) for kind, spec in GOOD.items()))
    before = specs(plane, namespace)
    apply(plane, "--filename", made("definitions") / "istio.yaml")
    assert specs(plane, namespace) == before
    apply(plane, "--kustomize", OURS)
    assert specs(plane, namespace) == before
    assert len(before) == len(KINDS)


def specs(plane: ControlPlane, namespace: str) -> dict[str, Any]:
    listed = json.loads(plane.kubectl("get", ",".join(NAMES), "--namespace", namespace, "--output=json"))
    return {each["kind"]: each["spec"] for each in listed["items"]}
