"""The definitions that Weft ships beside Istio's own and beside the models they are made from, in a real API server."""

import re
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import yaml

from agent.api.gateway_api.kinds import KINDS as GATEWAY_API
from agent.api.istio import KINDS
from agent.api.kubernetes import parse
from agent.api.strict import StrictObject
from agent.apiserver.connection import Connection
from agent.errors import InvalidObjectError, RefusedError
from tests.support.cluster import ControlPlane
from tests.support.cluster_program import made
from tests.support.definitions import OURS, a_random_object, read, schema_of_spec

ROOT: Final = Path(__file__).parents[2]
RANDOM_OBJECTS: Final = 100  # of each kind

NAMES: Final = [f"{kind.facts.plural}.{kind.facts.group}" for kind in KINDS]
SHAPE: Final = (
    *("type", "format", "nullable", "enum", "required"),
    *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"),
)
# A rule without these would be true of everything, and Istio's webhook refuses it as well.
REQUIRED_BY_US: Final = {
    "authorizationpolicies.security.istio.io": {
        ".spec.provider": ["name"],
        ".spec.rules[].from[]": ["source"],
        ".spec.rules[].to[]": ["operation"],
    }
}
# What the models refuse and the schemas do not. Ours: a rule for each of these would cost more than an API server
# allows, and AuthorizationPolicies are left to a webhook as with Istio. The Gateway API's: some patterns hold for the
# end of a text alone, and operators are not enumerated.
LEFT_TO_ADMISSION: Final = re.compile(
    r"spec\.(.*\.)?("
    r"retryBudget\.budgetInterval|(inboundC|c)onnectionPool\.tcp\.idleTimeout"
    r"|(not|remote|notRemote)?[iI]pBlocks\[\d+\]|(ports|notPorts)\[\d+\]|when\[\d+\]"
    r"|listeners\[\d+\]\.protocol|addresses\[\d+\]\.type|matchExpressions\[\d+\]\.operator)"
)

Json = dict[str, Any]
every_name = pytest.mark.parametrize("name", NAMES)
every_kind = pytest.mark.parametrize(
    "kind", (*KINDS, *GATEWAY_API), ids=lambda kind: f"{kind.__name__}.{kind.facts.group}"
)


@pytest.fixture(scope="module")
def installed(plane: ControlPlane) -> None:
    """Our definitions, established."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={ROOT}/daemonset/crds")
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *NAMES)


@pytest.fixture
async def connection(plane: ControlPlane, installed: None, gateway_api: None) -> AsyncIterator[Connection]:
    opened = await Connection.open(plane.kubeconfig)
    yield opened
    await opened.close()


@cache
def definitions_of_istio() -> dict[str, Json]:
    documents = yaml.load_all((made("definitions") / "istio.yaml").read_text(), yaml.CSafeLoader)
    return {document["metadata"]["name"]: document for document in documents if document}


def definition(name: str) -> Json:
    return read(OURS / f"{name}.yaml")


def shape(schema: Json, path: str = "") -> dict[str, Json]:
    """What SHAPE names of each field, by path; the order of values says nothing."""
    facts = {name: schema[name] for name in SHAPE if name in schema}
    found = {path: {name: sorted(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}}
    for name, each in schema.get("properties", {}).items():
        found |= shape(each, f"{path}.{name}")
    for name, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(name), dict):
            found |= shape(schema[name], path + mark)
    return found


def shapes(definition: Json) -> dict[str, dict[str, Json]]:
    """The shape of each version."""
    return {version["name"]: shape(version["schema"]["openAPIV3Schema"]) for version in definition["spec"]["versions"]}


async def refusal(connection: Connection, kind: type[StrictObject], object: Json) -> str:
    """Why the API server would not store the object, nothing when it would."""
    facts = kind.facts
    within = f"/namespaces/{object['metadata']['namespace']}" if facts.scope == "Namespaced" else ""
    path = f"/apis/{object['apiVersion']}{within}/{facts.plural}"
    try:
        await connection.request("POST", path, {"dryRun": "All", "fieldValidation": "Strict"}, object)
    except RefusedError as exc:
        return str(exc)
    return ""


def model_faults(object: Json) -> list[str]:
    """The fields that the model refuses the object for."""
    try:
        parse(object, "test")
    except InvalidObjectError as exc:
        assert exc.faults, exc
        return [fault.field for fault in exc.faults]
    return []


def examples() -> Iterator[Json]:
    """All but namespaces, pods, whose service accounts a dry run does not make, and what is for kubectl itself."""
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] not in ("Pod", "Namespace", "Kustomization"):
                yield document


def test_the_kinds_are_istios() -> None:
    assert sorted(NAMES) == sorted(definitions_of_istio())


@every_name
def test_each_field_of_each_version_is_istios(name: str) -> None:
    ours, theirs = shapes(definition(name)), shapes(definitions_of_istio()[name])
    for fields in theirs.values():
        for path, required in REQUIRED_BY_US.get(name, {}).items():
            fields[path] = {**fields[path], "required": required}
    assert ours == theirs


def test_the_examples_are_accepted(plane: ControlPlane, installed: None, gateway_api: None, namespace: str) -> None:
    objects = list(examples())
    assert objects
    for document in objects:
        if "namespace" in document["metadata"]:
            document["metadata"]["namespace"] = namespace
    create = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    plane.kubectl(*create, stdin=yaml.safe_dump_all(objects))


@every_kind
async def test_what_the_model_accepts_the_api_server_accepts_and_almost_the_reverse(
    connection: Connection, kind: type[StrictObject]
) -> None:
    schema = schema_of_spec(kind)
    accepted = 0
    for seed in range(RANDOM_OBJECTS):
        object = a_random_object(kind, schema, Random(seed))
        refused, faults = await refusal(connection, kind, object), model_faults(object)
        accepted += not refused
        if refused:
            assert faults, (object, refused)
        else:
            assert all(LEFT_TO_ADMISSION.fullmatch(fault) for fault in faults), (object, faults)
    assert 0 < accepted < RANDOM_OBJECTS
