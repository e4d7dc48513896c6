"""One object, one verdict: what `kubectl apply` says, by the schema or the webhook, and what `weft validate` says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import pytest

from agent.api import registry
from agent.api.gateway_api.kinds import KINDS as GATEWAY_API
from agent.api.istio import KINDS
from agent.api.strict import StrictObject
from agent.api.validation import validate
from agent.apiserver.connection import Connection
from agent.controller.authority import ca
from agent.errors import ConflictError, Fault, NotFoundError, RefusedError
from tests.support.cluster import ControlPlane
from tests.support.corpus import good, tabulated, varied, written
from tests.support.definitions import OURS, a_random_object, schema_of_spec
from tests.support.webhook import Port, answering, registered

AT_ONCE: Final = 8
RANDOM_OBJECTS: Final = 60  # of each kind
VARIATIONS: Final = 60  # of a good object
FIRST_SEED: Final = 1000  # others than those of the models' test
MOST_BYTES: Final = 1024**2  # of one object; an API server's store takes little more
DRY_RUN: Final = {"dryRun": "All", "fieldValidation": "Strict"}
EXISTING: Final = ("default", "istio-system")  # namespaces
# The models read the Gateway API's experimental fields and versions too. An API server refuses them where, as here,
# the definitions of the standard channel are installed.
EXPERIMENTAL: Final = re.compile(
    r'unknown field "spec\.rules\[0\]\.(filters\[0\]\.externalAuth|sessionPersistence)"'
    r"|sectionName must be unique when parentRefs includes 2 or more references to the same parent"
    r"|gateway\.networking\.k8s\.io/v1alpha[23] is not served"
)

# An API server puts the Service's own port in the place of 0.
FILLED_IN: Final = re.compile(r"spec\.ports\[\d+\]\.targetPort: read 0:")

Json = dict[str, Any]
Placed = tuple[str, Json]
every_kind = pytest.mark.parametrize(
    "kind", (*KINDS, *GATEWAY_API), ids=lambda kind: f"{kind.__name__}.{kind.facts.group}"
)


@pytest.fixture(scope="module")
def asked(plane: ControlPlane, gateway_api: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with every definition, which asks the webhook."""
    names = [f"{kind.facts.plural}.{kind.facts.group}" for kind in KINDS]
    plane.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={OURS}")
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *names)
    port, authority = Port.free(), ca.load_or_create(tmp_path_factory.mktemp("ca"), datetime.now(UTC))
    with answering(authority, port), registered(plane, authority, port):
        yield plane


@pytest.fixture(scope="module")
def corpus(asked: ControlPlane) -> Iterator[list[Placed]]:
    """Every object that an API server's store takes, by where it is from; the namespaces they are in exist."""
    objects = [(place, found) for place, found in (*written(), *tabulated()) if len(json.dumps(found)) < MOST_BYTES]
    spaces = sorted({namespace_of(found) for _, found in objects} - {*EXISTING})
    for name in spaces:
        asked.kubectl("create", "namespace", name)
    yield objects
    asked.kubectl("delete", "namespace", *spaces, "--wait=false")


@pytest.fixture
async def connection(asked: ControlPlane) -> AsyncIterator[Connection]:
    opened = await Connection.open(asked.kubeconfig)
    yield opened
    await opened.close()


def namespace_of(found: Json) -> str:
    metadata = found.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) and named else "default"


def collection(found: Json) -> str:
    """Where the object would be created; of a kind that nobody knows, somewhere that is not there."""
    version, kind = str(found["apiVersion"]), str(found["kind"])
    entry = registry.find(version, kind)
    model = entry.model if entry else None
    plural = model.facts.plural if model and issubclass(model, StrictObject) else f"{kind.lower()}s"
    within = "" if entry and not entry.is_namespaced else f"namespaces/{namespace_of(found)}/"
    return f"/{'apis' if '/' in version else 'api'}/{version}/{within}{plural}"


async def refusal(connection: Connection, found: Json) -> str:
    """Why the API server would not store the object, nothing when it would."""
    try:
        await connection.request("POST", collection(found), DRY_RUN, found)
    except RefusedError as exc:
        return str(exc)
    except ConflictError:
        return ""  # one of the namespaces, which are there already
    except NotFoundError:
        return f"{found['apiVersion']} is not served"
    return ""


def is_kubernetes_own(found: Json) -> bool:
    """Those the webhook is not asked about, and an API server asks more of them than the models."""
    return not any(found["apiVersion"].startswith(f"{kind.facts.group}/") for kind in (*KINDS, *GATEWAY_API))


def is_told(said: str, fault: Fault) -> bool:
    """Whether field and what is accepted are in the text; what was read may have defaults filled in."""
    _, word, accepted = fault.text.rpartition("accepted")
    return f"{fault.field or 'the object'}: " in said and f"{word}{accepted}" in said


async def difference(connection: Connection, place: str, found: Json) -> str:
    """How the two verdicts differ, nothing when they agree. What the webhook says, it says in the same words."""
    refused = await refusal(connection, found)
    faults = validate(found, place).errors
    errors = [f"{fault.field or 'the object'}: {fault.text}" for fault in faults]
    is_by_webhook = "denied the request: " in refused
    if is_by_webhook and not all(is_told(refused, fault) for fault in faults):
        return f"{place}: {json.dumps(found)}: the webhook says {refused!r}, the offline check {errors}"
    if bool(refused) == bool(errors) or EXPERIMENTAL.search(refused):
        return ""
    if is_kubernetes_own(found) and (refused or FILLED_IN.match(errors[0])):
        return ""
    return f"{place}: {json.dumps(found)}: the API server says {refused!r}, the offline check {errors}"


async def differences(connection: Connection, objects: Iterable[Placed]) -> list[str]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(place: str, found: Json) -> str:
        async with turn:
            return await difference(connection, place, found)

    return [each for each in await asyncio.gather(*(one(*each) for each in objects)) if each]


async def test_every_example_and_every_case_of_the_tests_has_one_verdict(
    connection: Connection, corpus: list[Placed]
) -> None:
    assert len(corpus) > 500
    assert await differences(connection, corpus) == []


@every_kind
async def test_objects_made_at_random_and_good_ones_with_one_change_have_one_verdict(
    connection: Connection, corpus: list[Placed], kind: type[StrictObject]
) -> None:
    objects = list(made_of(kind))
    accepted = [found for place, found in objects if not validate(found, place).errors]
    assert 0 < len(accepted) < len(objects)
    assert await differences(connection, objects) == []


def made_of(kind: type[StrictObject]) -> Iterator[Placed]:
    for seed in range(FIRST_SEED, FIRST_SEED + RANDOM_OBJECTS):
        yield f"random, seed {seed}", a_random_object(kind, schema_of_spec(kind), Random(seed))
    for given in good():
        if (given["apiVersion"], given["kind"]) in ((version, kind.__name__) for version in kind.facts.api_versions):
            for seed in range(FIRST_SEED, FIRST_SEED + VARIATIONS):
                yield f"varied, seed {seed}", varied(given, Random(seed))
