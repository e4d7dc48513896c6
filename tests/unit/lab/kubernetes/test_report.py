"""Statuses, events and tokens on their way to the API server."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from agent.api.objects import ObjectMeta
from agent.api.pods import runnable_pod
from agent.api.pods.volumes import ProjectedToken
from agent.errors import NotFoundError, UnavailableError, WeftError
from agent.kube import Object
from agent.lab.addresses import node_plans
from agent.lab.kubernetes.events import Events
from agent.lab.kubernetes.report import Report
from agent.lab.kubernetes.states import ContainerState, Running
from agent.lab.kubernetes.tokens import Tokens
from agent.lab.kubernetes.writes import Token

POD = ObjectMeta(name="web", namespace="shop", uid="u-1")
RUNS = ContainerState(Running("id", datetime(2026, 1, 31, tzinfo=UTC)), is_started=True, is_ready=True)
TOKEN = ProjectedToken(path="token", audience="istio-ca", expiration_seconds=600)


class PretendedWrites:
    """Keeps what is written; fails as often as it is told to."""

    def __init__(self, *failures: WeftError) -> None:
        self._failures = list(failures)
        self.written: list[Object] = []
        self.lifetime = 600.0

    async def status(self, pod: ObjectMeta, status: Object) -> None:
        self._fail()
        self.written.append(status)

    async def token(self, pod: ObjectMeta, account: str, audience: str, seconds: int) -> Token:
        self._fail()
        self.written.append({"audience": audience, "account": account})
        return Token(f"token-{len(self.written)}", time.time() + self.lifetime)

    async def add_event(self, event: Object) -> None:
        self.written.append(event)

    async def repeat_event(self, namespace: str, name: str, patch: Object) -> None:
        self._fail()
        self.written.append(patch)

    def _fail(self) -> None:
        if self._failures:
            raise self._failures.pop(0)


def a_report(writes: PretendedWrites) -> Report:
    spec = {"containers": [{"name": "main", "command": ["true"]}], "nodeName": "node-1"}
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1"}
    pod = runnable_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "test")
    return Report(writes, node_plans(1)[0], pod, {"startTime": "2026-01-31T12:00:00Z"})  # type: ignore[arg-type]


async def test_a_status_is_written_once_for_each_change() -> None:
    writes = PretendedWrites()
    report = a_report(writes)
    await report.flush()
    await report.flush()
    report.set("main", RUNS)
    report.set_addresses(["10.0.0.1", "fd00::1"])
    await report.flush()
    assert [status["phase"] for status in writes.written] == ["Pending", "Running"]
    assert writes.written[-1]["podIPs"] == [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    assert writes.written[-1]["startTime"] == "2026-01-31T12:00:00Z"
    assert report.is_ready


async def test_a_status_that_cannot_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.lab.kubernetes.report._FIRST_DELAY_SECONDS", 0.001)
    writes = PretendedWrites(UnavailableError("away"))
    await a_report(writes).flush()
    assert len(writes.written) == 1


async def test_nothing_is_written_of_a_pod_that_is_gone() -> None:
    writes = PretendedWrites(NotFoundError("gone"))
    await a_report(writes).flush()
    assert writes.written == []


async def test_a_pod_that_is_refused_has_failed_and_says_why() -> None:
    writes = PretendedWrites()
    report = a_report(writes)
    report.refuse("CannotRun", "no such thing here")
    await report.flush()
    (status,) = writes.written
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "CannotRun", "no such thing here")


async def delivered(writes: PretendedWrites, *messages: str) -> list[Object]:
    events = Events(writes)  # type: ignore[arg-type]
    for message in messages:
        events.say(POD, "node-1", "FailedMount", message)
    task = asyncio.create_task(events.deliver())
    async with asyncio.timeout(5):
        while len(writes.written) < len(messages):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0)
    task.cancel()
    return writes.written


async def test_an_event_names_pod_node_and_reason() -> None:
    (event,) = await delivered(PretendedWrites(), "no ConfigMap")
    assert event["involvedObject"]["uid"] == "u-1"
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "FailedMount", "no ConfigMap")
    assert event["source"] == {"component": "kubelet", "host": "node-1"}


async def test_what_is_said_again_is_counted() -> None:
    written = await delivered(PretendedWrites(), "same", "same", "other", "same")
    assert [event["count"] for event in written] == [1, 2, 1, 3]


async def test_an_event_that_the_api_server_has_forgotten_is_written_anew() -> None:
    written = await delivered(PretendedWrites(NotFoundError("gone")), "same", "same")
    assert [event["reason"] for event in written] == ["FailedMount", "FailedMount"]


async def test_a_token_is_asked_for_once_until_it_is_due() -> None:
    writes = PretendedWrites()
    tokens = Tokens(writes, POD, "seller", {TOKEN})  # type: ignore[arg-type]
    await tokens.renew()
    await tokens.renew()
    assert writes.written == [{"audience": "istio-ca", "account": "seller"}]
    assert tokens.texts == {TOKEN: b"token-1"}
    assert 470 < tokens.seconds_until_due() <= 480


async def test_a_token_that_is_due_is_replaced_and_kept_when_that_fails() -> None:
    writes = PretendedWrites()
    writes.lifetime = 0
    tokens = Tokens(writes, POD, "seller", {TOKEN})  # type: ignore[arg-type]
    await tokens.renew()
    await tokens.renew()
    assert tokens.texts == {TOKEN: b"token-2"}
    writes._failures.append(UnavailableError("away"))
    with pytest.raises(UnavailableError):
        await tokens.renew()
    assert tokens.texts == {TOKEN: b"token-2"}
