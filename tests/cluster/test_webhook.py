"""A real API server asks the webhook: what people see of it, and what becomes of objects while it is away."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from agent.api.istio import KINDS
from agent.apiserver.cluster import api_server
from agent.controller import registration
from agent.controller.authority import ca
from agent.kube import AUTHORIZATION_POLICY
from tests.support.cluster import ControlPlane, KubectlError
from tests.support.webhook import Port, answering, registered

CRDS: Final = Path(__file__).parents[2] / "daemonset/crds"
NAMES: Final = [f"{kind.facts.plural}.{kind.facts.group}" for kind in KINDS]
SHORT_LIFE: Final = timedelta(seconds=6)
CERTIFICATES: Final = 4  # that a test of renewal sees
PATIENCE_SECONDS: Final = 30.0
WRITES: Final = 50
MEDIAN_SECONDS: Final = 0.030  # a write held up by delayed acknowledgements takes 40 ms longer

Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def installed(plane: ControlPlane) -> None:
    """Our definitions, established."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={CRDS}")
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *NAMES)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.load_or_create(tmp_path_factory.mktemp("ca"), datetime.now(UTC))


@pytest.fixture
def webhook(plane: ControlPlane, authority: ca.Authority) -> Iterator[None]:
    """Running and registered, and asked by the API server."""
    port = Port.free()
    with answering(authority, port), registered(plane, authority, port):
        await_refusal(plane)
        yield


def a_policy(namespace: str, name: str = "web", **source: Any) -> Json:
    """Without a field of its source it is refused by the webhook, and by nothing else."""
    rules = [{"from": [{"source": source or {"ipBlocks": ["10.0.0.0/33"]}}]}]
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": {"rules": rules},
    }


def apply(plane: ControlPlane, found: Json, *arguments: str) -> str:
    return plane.kubectl("apply", "--filename=-", *arguments, stdin=json.dumps(found))


def refusal(plane: ControlPlane, found: Json) -> str:
    """What kubectl says of an object that is not let in, nothing of one that is."""
    try:
        apply(plane, found, "--dry-run=server")
    except KubectlError as exc:
        return str(exc)
    return ""


def await_refusal(plane: ControlPlane, says: str = "validation.weft.io") -> None:
    """Until the API server takes notice of the registration."""
    await_said(plane, a_policy("default"), says)


def await_said(plane: ControlPlane, found: Json, says: str) -> None:
    """Until this is said of an object that is not let in; nothing is said of one that is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_said(said := refusal(plane, found), says):
        assert time.monotonic() < deadline, f"{says!r} is not said, but {said!r}"


def _is_said(said: str, says: str) -> bool:
    return says in said if says else not said


@pytest.mark.usefixtures("webhook")
def test_a_mistake_is_refused_at_apply_in_the_words_of_the_offline_check(plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(KubectlError) as caught:
        apply(plane, a_policy(namespace))
    said = (
        f"AuthorizationPolicy {namespace}/web: spec.rules[0].from[0].source.ipBlocks[0]: read '10.0.0.0/33': accepted"
    )
    assert f'admission webhook "validation.weft.io" denied the request: {said}' in str(caught.value)


@pytest.mark.usefixtures("webhook")
def test_what_is_hardly_meant_is_stored_and_kubectl_prints_the_warning(plane: ControlPlane, namespace: str) -> None:
    metadata = {"name": "web", "namespace": namespace}
    spec = {"mtls": {"mode": "DISABLE"}}
    found = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": metadata, "spec": spec}
    with pytest.raises(KubectlError, match=re.escape("Warning: spec.mtls.mode: read DISABLE")):
        apply(plane, found, "--warnings-as-errors")
    assert plane.kubectl("get", "peerauthentication", "web", f"--namespace={namespace}", "--output=name")


def test_what_was_stored_broken_can_be_labelled_mended_and_deleted_but_not_broken_anew(
    plane: ControlPlane, authority: ca.Authority, namespace: str
) -> None:
    for name in ("web", "other"):
        apply(plane, a_policy(namespace, name))
    port = Port.free()
    where = ("authorizationpolicy", "web", f"--namespace={namespace}")
    with answering(authority, port), registered(plane, authority, port):
        await_refusal(plane)
        plane.kubectl("label", *where, "team=shop")
        with pytest.raises(KubectlError, match="ipBlocks"):
            apply(plane, a_policy(namespace, ipBlocks=["10.0.0.0/34"]))
        apply(plane, a_policy(namespace, ipBlocks=["10.0.0.0/8"]))
        with pytest.raises(KubectlError, match="ipBlocks"):
            apply(plane, a_policy(namespace))
        plane.kubectl("delete", "authorizationpolicy", "web", "other", f"--namespace={namespace}")


@pytest.mark.parametrize("policy", registration.FAILURE_POLICIES)
def test_while_nobody_answers_the_failure_policy_decides(
    plane: ControlPlane, authority: ca.Authority, namespace: str, policy: registration.FailurePolicy
) -> None:
    port = Port.free()
    with registered(plane, authority, port, policy):
        with answering(authority, port):
            await_refusal(plane)
        valid = a_policy(namespace, principals=["*"])
        if policy == "Fail":
            await_said(plane, valid, 'failed calling webhook "validation.weft.io"')
        else:
            await_said(plane, a_policy(namespace), "")
            apply(plane, valid)
        with answering(authority, port):
            await_said(plane, valid, "")
            await_refusal(plane)


def test_objects_are_written_while_the_certificate_is_renewed_and_none_is_refused(
    plane: ControlPlane, authority: ca.Authority, namespace: str
) -> None:
    port = Port.free()
    with (
        answering(authority, port, SHORT_LIFE, look_seconds=0.1),
        registered(plane, authority, port),
        handshakes(authority, port) as serials,
    ):
        await_refusal(plane)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(set(serials)) < CERTIFICATES:
            assert time.monotonic() < deadline, f"only {len(set(serials))} certificates were seen"
            apply(plane, a_policy(namespace, principals=[f"*-{len(serials)}"]))
    assert None not in serials


@contextlib.contextmanager
def handshakes(authority: ca.Authority, port: Port) -> Iterator[list[str | None]]:
    """Somebody who connects anew all the time and trusts the root alone; None stands for a handshake that failed."""
    trusting = ssl.create_default_context(cadata=authority.root_pem)
    serials: list[str | None] = []
    stop = threading.Event()

    def connect() -> None:
        while not stop.is_set():
            try:
                with (
                    socket.create_connection((port.address, port.number), 5) as plain,
                    trusting.wrap_socket(plain, server_hostname="istiod.istio-system.svc") as secure,
                ):
                    shown: Json = dict(secure.getpeercert() or {})
                    serials.append(shown["serialNumber"])
            except OSError:
                serials.append(None)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        yield serials
    finally:
        stop.set()
        thread.join(10)


@pytest.mark.usefixtures("webhook")
async def test_being_asked_costs_a_write_some_milliseconds(plane: ControlPlane, namespace: str) -> None:
    async with api_server(plane.kubeconfig) as cluster:
        taken = []
        for number in range(WRITES):
            began = time.monotonic()
            await cluster.create(AUTHORIZATION_POLICY, a_policy(namespace, f"web-{number}", principals=["*"]))
            taken.append(time.monotonic() - began)
    median = sorted(taken)[WRITES // 2]
    print(f"a write takes {median * 1000:.1f} ms, at most {max(taken) * 1000:.1f} ms")
    assert median < MEDIAN_SECONDS


async def test_the_registration_is_made_and_put_right_when_somebody_changes_or_deletes_it(
    plane: ControlPlane, authority: ca.Authority
) -> None:
    wanted = registration.wanted(authority.root_pem, "Ignore")
    async with api_server(plane.kubeconfig) as cluster:
        keeping = asyncio.create_task(registration.keep(cluster, wanted))
        try:
            first = await stored(plane, wanted)
            where = ("validatingwebhookconfiguration", registration.NAME)
            plane.kubectl("patch", *where, "--type=json", f"--patch={json.dumps(FAIL_AND_CHOOSE)}")
            second = await stored(plane, wanted)
            assert second["metadata"]["uid"] == first["metadata"]["uid"]
            plane.kubectl("delete", *where)
            third = await stored(plane, wanted)
            assert third["metadata"]["uid"] != first["metadata"]["uid"]
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            plane.kubectl("delete", *where, "--ignore-not-found")


FAIL_AND_CHOOSE: Final = [
    {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"},
    {"op": "add", "path": "/webhooks/0/namespaceSelector/matchLabels", "value": {"checked": "yes"}},
]


async def stored(plane: ControlPlane, wanted: Json) -> Json:
    """The registration once it is as it is wanted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        listed = await asyncio.to_thread(plane.kubectl, "get", "validatingwebhookconfigurations", "--output=json")
        for found in json.loads(listed)["items"]:
            if found["metadata"]["name"] == registration.NAME and found["webhooks"] == wanted["webhooks"]:
                return dict(found)
        assert time.monotonic() < deadline, listed
