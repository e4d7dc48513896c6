import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from agent.apiserver.follower import MOST_DELAY_SECONDS, Follower
from agent.errors import BusyError, ExpiredError, NotFoundError, UnavailableError, WeftError
from agent.kube import AUTHORIZATION_POLICY, POD, Change, Kind, Object


class Done(Exception):
    """The script has nothing more to say."""


class ScriptedConnection:
    """Answers requests with what the script says next, in order; the asked queries are kept."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def _next(self, path: str, query: Mapping[str, str] | None) -> Any:
        version = (query or {}).get("resourceVersion")
        self.asked.append(f"{path} after {version}" if version else path)
        if not self.answers:
            raise Done
        answer = self.answers.pop(0)
        if isinstance(answer, WeftError):
            raise answer
        return answer

    async def request(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        return self._next(path, query)

    @contextlib.asynccontextmanager
    async def lines(self, path: str, query: Mapping[str, str], silence_seconds: float) -> AsyncIterator[Any]:
        yield self._events(self._next(path, query))

    async def _events(self, events: Iterable[Any]) -> AsyncIterator[Object]:
        for event in events:
            if isinstance(event, WeftError):
                raise event
            yield event


class Recorder:
    """A follower without jitter, whose sleeps take no time and are kept."""

    def __init__(self, *answers: Any, kind: Kind = POD) -> None:
        self.connection = ScriptedConnection(*answers)
        self.changes: list[str] = []
        self.slept: list[float] = []
        self._follower = Follower(
            self.connection,  # type: ignore[arg-type]
            kind,
            self._deliver,
            sleep=self._sleep,
            factor=lambda: 1.0,
        )

    async def run(self) -> None:
        with contextlib.suppress(Done):
            await self._follower.first()
            await self._follower.follow()

    async def _deliver(self, changes: Iterable[Change]) -> None:
        self.changes += [
            f"{change.type.name} {change.object['metadata']['name']}" for change in changes if change.object
        ]

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def a_pod(name: str, version: str) -> Object:
    return {"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": version}}


def a_list(version: str, *names: str) -> Object:
    return {"metadata": {"resourceVersion": version}, "items": [a_pod(name, "1") for name in names]}


def an_event(type_: str, name: str, version: str) -> Object:
    return {"type": type_, "object": a_pod(name, version)}


def a_bookmark(version: str) -> Object:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}


async def test_each_watch_begins_after_the_last_version_that_was_seen() -> None:
    recorder = Recorder(
        a_list("5", "web"),
        [an_event("MODIFIED", "web", "6"), an_event("DELETED", "web", "7"), UnavailableError("cut")],
        [a_bookmark("20"), UnavailableError("cut")],
    )
    await recorder.run()
    assert recorder.changes == ["ADDED web", "MODIFIED web", "DELETED web"]
    pods = "/api/v1/pods"
    assert recorder.connection.asked == [pods, f"{pods} after 5", f"{pods} after 7", f"{pods} after 20"]


async def test_failures_are_further_and_further_apart_until_one_succeeds() -> None:
    away = [UnavailableError("away")] * 9
    recorder = Recorder(a_list("5"), *away, [a_bookmark("6"), UnavailableError("cut")], UnavailableError("away"))
    await recorder.run()
    assert recorder.slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 0.2, 0.4])


async def test_a_watch_that_ends_at_once_is_a_failure() -> None:
    recorder = Recorder(a_list("5"), [], [], [])
    await recorder.run()
    assert recorder.slept == pytest.approx([0.2, 0.4, 0.8])


async def test_a_busy_api_server_is_left_alone_for_as_long_as_it_asks() -> None:
    recorder = Recorder(BusyError("busy", 9), a_list("5"))
    await recorder.run()
    assert recorder.slept == [9]


@pytest.mark.parametrize(
    "end",
    [
        ExpiredError("too old"),
        {"type": "ERROR", "object": {"code": 410, "message": "too old"}},
        {"type": "ADDED", "object": {"kind": "Status"}},
        {"kind": "Status"},
    ],
    ids=["refused", "an event", "an object without a version", "no event"],
)
async def test_what_cannot_be_gone_on_from_is_listed_anew(end: object) -> None:
    recorder = Recorder(a_list("5", "web", "db"), [end], a_list("50", "web", "cache"))
    await recorder.run()
    assert recorder.changes == ["ADDED web", "ADDED db", "DELETED db", "ADDED cache"]
    assert recorder.connection.asked[-1] == "/api/v1/pods after 50"


async def test_an_error_in_a_watch_is_no_reason_to_list() -> None:
    error = {"type": "ERROR", "object": {"code": 500, "message": "etcd has no leader"}}
    recorder = Recorder(a_list("5"), [error])
    await recorder.run()
    assert recorder.connection.asked[-1] == "/api/v1/pods after 5"


POLICIES = "/apis/security.istio.io/v1/authorizationpolicies"
GROUPS = {
    "kind": "APIGroupList",
    "groups": [{"versions": [{"groupVersion": "security.istio.io/v1"}]}],
}
RESOURCES = {"resources": [{"name": "authorizationpolicies"}]}


async def test_a_kind_that_is_removed_has_no_objects_until_it_is_installed() -> None:
    gone, nothing = NotFoundError("404 page not found"), {"kind": "APIGroupList", "groups": []}
    recorder = Recorder(a_list("5", "web"), gone, gone, nothing, a_list("9", "db"), kind=AUTHORIZATION_POLICY)
    await recorder.run()
    assert recorder.changes == ["ADDED web", "DELETED web", "ADDED db"]
    assert recorder.slept == [MOST_DELAY_SECONDS]


@pytest.mark.parametrize(
    "discovery",
    [(GROUPS, RESOURCES), ({"kind": "Welcome"},), (NotFoundError("no such page"),)],
    ids=["it is served", "no API server", "no discovery"],
)
async def test_not_found_alone_empties_nothing(discovery: tuple[Any, ...]) -> None:
    gone = NotFoundError("404 page not found")
    recorder = Recorder(a_list("5", "web"), gone, gone, *discovery, kind=AUTHORIZATION_POLICY)
    await recorder.run()
    assert recorder.changes == ["ADDED web"]
    assert recorder.connection.asked[-1] == POLICIES


async def test_a_failure_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    recorder = Recorder(*[UnavailableError("away")] * 3, a_list("5"))
    await recorder.run()
    assert [record.message for record in caplog.records] == [
        "cannot follow, the last state stays",
        "the API server answers again",
    ]
