from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agent.errors import NotFoundError, PodGoneError, PodNotReadyError, UnavailableError
from agent.metrics import NodeMetrics
from agent.model import NodeName, Pod, PodUid
from agent.node.enrolment import Enrolments, Standing
from agent.node.layout import POD_OUTBOUND, POD_PREPARED, PodEntry


class FakeKernel:
    def __init__(self, entries: Mapping[int, PodEntry] | None = None) -> None:
        self.entries = dict(entries or {})

    def pods(self) -> dict[int, PodEntry]:
        return dict(self.entries)

    def stop_steering(self, uid: str, cookie: int) -> None:
        pass

    def forget(self, cookie: int) -> None:
        del self.entries[cookie]


class FakeSteps:
    """Notes what is asked for; a pod named in `stuck` waits for ever, one in `failing` fails."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.stuck: set[str] = set()
        self.failing: dict[str, str] = {}
        self.captured: dict[str, tuple[str, ...]] = {}
        self.is_cluster_away = False

    async def find(self, captured: Any) -> None:
        raise PodNotReadyError("no process yet")

    async def enter(self, captured: Any, fd: int) -> None:
        captured.close()
        captured.netns = fd
        self.done.append(f"enter {captured.uid}")

    async def capture(self, captured: Any, pod: Pod) -> None:
        if pod.uid in self.stuck:
            await asyncio.Event().wait()
        if pod.uid in self.failing:
            self.done.append(f"try {pod.uid}")
            raise PodNotReadyError(self.failing[pod.uid])
        self.captured[pod.uid] = pod.addresses

    async def announce(self, captured: Any, pod: Pod) -> None:
        if self.is_cluster_away:
            raise UnavailableError("the API server is away")
        captured.is_enrolled = True
        self.done.append(f"enrol {pod.uid}")

    async def withdraw(self, captured: Any, pod: Pod | None) -> None:
        captured.is_enrolled = False
        self.done.append(f"withdraw {captured.uid}{'' if pod else ', gone'}")

    async def annotate(self, pod: Pod, value: str | None) -> None:
        self.done.append(f"annotate {pod.uid} {value}")


def a_pod(uid: str) -> Pod:
    return Pod(PodUid(uid), f"web-{uid}", "shop", "web", NodeName("node-1"), (f"10.0.0.{uid}",))


def pods(*uids: str) -> dict[PodUid, Pod]:
    return {PodUid(uid): a_pod(uid) for uid in uids}


class Stage:
    """Enrolments whose tasks end with the block."""

    def __init__(self, entries: Mapping[int, PodEntry] | None = None) -> None:
        self.kernel = FakeKernel(entries)
        self.steps = FakeSteps()
        self.group = asyncio.TaskGroup()

    async def __aenter__(self) -> Stage:
        await self.group.__aenter__()
        self.enrolments = Enrolments(self.kernel, self.steps, self.group, NodeMetrics(CollectorRegistry()))  # type: ignore[arg-type]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in list(self.group._tasks):
            task.cancel()
        await self.group.__aexit__(None, None, None)

    async def reach(self, *done: str) -> None:
        async with asyncio.timeout(5):
            while self.steps.done != list(done):  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_wanted_pods_are_enrolled_and_others_withdrawn() -> None:
    async with Stage() as stage:
        stage.enrolments.want(pods("1", "2"), pods("1", "2"))
        await settled(stage, 2)
        stage.enrolments.want(pods("2"), pods("1", "2"))
        await settled(stage, 3)
        assert sorted(stage.steps.done) == ["enrol 1", "enrol 2", "withdraw 1"]  # nobody else is touched
        assert stage.enrolments.uids == {"2"}


async def settled(stage: Stage, count: int) -> None:
    async with asyncio.timeout(5):
        while len(stage.steps.done) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_change_of_one_pod_wakes_no_other() -> None:
    async with Stage() as stage:
        stage.enrolments.want(pods("1", "2"), pods("1", "2"))
        await settled(stage, 2)
        for ready in (True, False, True):
            changed = {**pods("1"), PodUid("2"): replace(a_pod("2"), is_ready=ready)}
            stage.enrolments.want(changed, changed)
            await asyncio.sleep(0.01)
        assert sorted(stage.steps.done) == ["enrol 1", "enrol 2", "enrol 2", "enrol 2", "enrol 2"]


async def test_a_pod_that_is_stuck_holds_up_no_other() -> None:
    async with Stage() as stage:
        stage.steps.stuck = {"1"}
        stage.enrolments.want(pods("1", "2"), pods("1", "2"))
        await stage.reach("enrol 2")


async def test_a_failing_pod_is_annotated_once_and_tried_again() -> None:
    async with Stage() as stage:
        stage.steps.failing = {"1": "no node proxy is connected"}
        stage.enrolments.want(pods("1"), pods("1"))
        await stage.reach("try 1", "annotate 1 pending")
        stage.enrolments.want(pods("1"), pods("1"))
        await stage.reach("try 1", "annotate 1 pending", "try 1")
        stage.steps.failing = {}
        await stage.reach("try 1", "annotate 1 pending", "try 1", "enrol 1")


async def test_a_deleted_pod_is_withdrawn_as_gone() -> None:
    async with Stage() as stage:
        stage.enrolments.want(pods("1"), pods("1"))
        await stage.reach("enrol 1")
        stage.enrolments.want({}, {})
        await stage.reach("enrol 1", "withdraw 1, gone")


async def test_a_pod_without_an_address_waits_quietly() -> None:
    async with Stage() as stage:
        waiting = Pod(PodUid("1"), "web-1", "shop", "web", NodeName("node-1"))
        stage.enrolments.want({waiting.uid: waiting}, {waiting.uid: waiting})
        stage.enrolments.want(pods("1"), pods("1"))
        await stage.reach("enrol 1")


async def test_what_an_earlier_agent_enrolled_is_kept_and_the_rest_forgotten() -> None:
    enrolled = PodEntry("1", POD_PREPARED | POD_OUTBOUND, 0, ("10.0.0.1",))
    gone = PodEntry("2", POD_PREPARED | POD_OUTBOUND, 0, ("10.0.0.2",))
    async with Stage({7: enrolled, 8: gone}) as stage:
        requests = await stage.enrolments.adopt(pods("1"))
        assert [(type(request).__name__, request.uid) for request in requests] == [("KeepPod", "1")]
        assert stage.kernel.entries == {7: enrolled}
        stage.enrolments.want({}, pods("1"))
        await stage.reach("withdraw 1")


async def test_how_each_pod_is_doing_is_told() -> None:
    async with Stage() as stage:
        stage.steps.failing = {"1": "15001 is taken"}
        stage.enrolments.want(pods("1", "2"), pods("1", "2"))
        await settled(stage, 2)
        await asyncio.sleep(0)
        assert stage.enrolments.standings == {
            PodUid("1"): Standing(False, "15001 is taken"),
            PodUid("2"): Standing(True),
        }
        stage.enrolments.report({PodUid("3"): "label odd"})
        assert stage.enrolments.left == {PodUid("3"): "label odd"}


def an_fd() -> int:
    return os.open("/dev/null", os.O_RDONLY)


@contextlib.contextmanager
def a_sandbox() -> Iterator[int]:
    """A descriptor that must be the only one of its own left at the end."""
    before = set(Path("/proc/self/fd").iterdir())
    fd = an_fd()
    try:
        yield fd
    finally:
        os.close(fd)
    assert set(Path("/proc/self/fd").iterdir()) <= before


def without_address(uid: str) -> dict[PodUid, Pod]:
    return {PodUid(uid): replace(a_pod(uid), addresses=())}


async def test_a_pod_that_is_held_is_captured_at_the_addresses_of_its_sandbox() -> None:
    with a_sandbox() as fd:
        async with Stage() as stage:
            stage.enrolments.want(without_address("1"), without_address("1"))
            await stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.9",))
            assert stage.steps.captured == {"1": ("10.0.0.9",)}
            # An earlier sandbox's addresses are in its status until kubelet has told the new ones.
            stage.enrolments.want(pods("1"), pods("1"))
            await settled(stage, 3)
            assert stage.steps.captured == {"1": ("10.0.0.9",)}
            told = {PodUid("1"): replace(a_pod("1"), addresses=("10.0.0.9", "fd00::9"))}
            stage.enrolments.want(told, told)
            await settled(stage, 4)
            assert stage.steps.captured == {"1": ("10.0.0.9", "fd00::9")}
            assert stage.steps.done == ["enter 1", "enrol 1", "enrol 1", "enrol 1"]


async def test_a_pod_that_is_held_does_not_wait_for_the_cluster_to_hear_of_it() -> None:
    with a_sandbox() as fd:
        async with Stage() as stage:
            stage.steps.is_cluster_away = True
            stage.enrolments.want(without_address("1"), without_address("1"))
            async with asyncio.timeout(5):
                await stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.9",))
            assert not stage.enrolments.standings[PodUid("1")].is_enrolled


async def test_a_pod_that_cannot_be_captured_is_held_until_it_can() -> None:
    with a_sandbox() as fd:
        async with Stage() as stage:
            stage.steps.failing = {"1": "no node proxy is connected"}
            stage.enrolments.want(without_address("1"), without_address("1"))
            held = asyncio.ensure_future(stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.9",)))
            await stage.reach("enter 1", "try 1", "annotate 1 pending")
            assert not held.done()
            stage.steps.failing = {}
            await asyncio.wait_for(held, 5)


async def test_who_holds_a_pod_that_shall_not_be_enrolled_hears_so() -> None:
    with a_sandbox() as fd:
        async with Stage() as stage:
            with pytest.raises(NotFoundError):
                await stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.9",))
            stage.steps.failing = {"1": "no node proxy is connected"}
            stage.enrolments.want(without_address("1"), without_address("1"))
            held = asyncio.ensure_future(stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.9",)))
            await stage.reach("enter 1", "try 1", "annotate 1 pending")
            stage.enrolments.want({}, without_address("1"))
            with pytest.raises(PodGoneError):
                await asyncio.wait_for(held, 5)


async def test_another_sandbox_takes_the_place_of_the_one_before() -> None:
    with a_sandbox() as fd:
        async with Stage() as stage:
            stage.steps.failing = {"1": "no node proxy is connected"}
            stage.enrolments.want(without_address("1"), without_address("1"))
            first = asyncio.ensure_future(stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.9",)))
            await stage.reach("enter 1", "try 1", "annotate 1 pending")
            second = asyncio.ensure_future(stage.enrolments.hold(PodUid("1"), fd, ("10.0.0.10",)))
            with pytest.raises(PodGoneError):
                await asyncio.wait_for(first, 5)
            stage.steps.failing = {}
            await asyncio.wait_for(second, 5)
            assert stage.steps.captured == {"1": ("10.0.0.10",)}
