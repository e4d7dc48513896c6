"""The life of a container, with a runtime that only pretends to run it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.api.pods.containers import RunnableContainer
from agent.errors import KernelError, NotFoundError
from agent.kube import Object
from agent.lab.kubernetes.container import ContainerRun, Surroundings
from agent.lab.kubernetes.states import ContainerState, Ended, Running, Waiting
from agent.lab.kubernetes.waiting import Ending
from agent.lab.oci.running import Answer
from agent.lab.prober import Outcome

WAITS = ContainerState(Waiting("ContainerCreating"))


class PretendedRun:
    """Ends when told the exit code, or by a signal that it does not ignore."""

    def __init__(self, ignored: Sequence[signal.Signals] = ()) -> None:
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.told: list[str] = []
        self._ignored = ignored

    async def wait(self) -> int:
        return await asyncio.shield(self.code)

    def signal(self, number: signal.Signals) -> None:
        if not self.code.done():
            self.told.append(number.name)
            if number not in self._ignored:
                self.code.set_result(128 + number)

    async def run(self, words: Sequence[str], timeout_seconds: float) -> Answer:
        self.told.append(" ".join(words))
        return Answer(0, b"")

    async def delete(self) -> None:
        self.told.append("deleted")


class PretendedRuntime:
    def __init__(self, *ignored: signal.Signals) -> None:
        self.runs: asyncio.Queue[PretendedRun] = asyncio.Queue()
        self.names: list[str] = []
        self.failure = ""
        self._ignored = ignored

    async def start(self, name: str, specification: Object, log: Path) -> PretendedRun:
        self.names.append(name)
        if self.failure:
            raise KernelError(self.failure)
        run = PretendedRun(self._ignored)
        self.runs.put_nowait(run)
        return run


class PretendedProber:
    """Answers as it is told to."""

    reason = "connection refused"

    async def succeeds(self, *call: object) -> Outcome:
        return Outcome(not self.reason, self.reason)


class Stage:
    """A container and all around it."""

    def __init__(self, runtime: PretendedRuntime, policy: str = "Always", **container: object) -> None:
        self.runtime, self.prober, self.ending = runtime, PretendedProber(), Ending()
        self.states: list[ContainerState] = []
        self.said: list[tuple[str, str]] = []
        self.missing = ""
        around = Surroundings(
            name="u-1-main",
            address="10.0.0.1",
            restart_policy=policy,
            grace_seconds=0.05,
            ending=self.ending,
            runtime=runtime,  # type: ignore[arg-type]
            prober=self.prober,  # type: ignore[arg-type]
            specification=self._specification,
            log=Path("/dev/null"),
            say=lambda reason, message, container="": self.said.append((reason, message)),
        )
        model = RunnableContainer.model_validate({"name": "main", "command": ["run"], **container})
        self.container = ContainerRun(model, around, WAITS, self.states.append)

    def _specification(self) -> Object:
        if self.missing:
            raise NotFoundError(self.missing)
        return {}

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not is_so():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0)


async def test_a_container_that_ends_well_is_not_started_again_when_it_should_not() -> None:
    stage = Stage(PretendedRuntime(), "OnFailure")
    running = asyncio.create_task(stage.container.run())
    (await stage.runtime.runs.get()).code.set_result(0)
    assert await running == 0
    assert isinstance(stage.states[-1].now, Ended)
    assert stage.runtime.names == ["u-1-main-0"]


async def test_a_container_that_fails_waits_before_it_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.lab.backoff.FIRST_SECONDS", 0.01)
    stage = Stage(PretendedRuntime())
    running = asyncio.create_task(stage.container.run())
    (await stage.runtime.runs.get()).code.set_result(3)
    second = await stage.runtime.runs.get()
    await stage.until(lambda: isinstance(stage.states[-1].now, Running))
    waited = next(state for state in stage.states if state.last is not None)
    assert waited.now == Waiting("CrashLoopBackOff", "back-off 0.01s restarting failed container=main")
    assert (waited.restarts, stage.states[-1].restarts) == (0, 1)
    assert ("BackOff", "Back-off restarting failed container main") in stage.said
    stage.ending.begin(1)
    assert await running == 128 + signal.SIGTERM
    assert second.told == ["SIGTERM", "deleted"]


async def test_a_container_that_does_not_end_in_time_is_killed() -> None:
    stage = Stage(PretendedRuntime(signal.SIGTERM))
    running = asyncio.create_task(stage.container.run())
    run = await stage.runtime.runs.get()
    stage.ending.begin(0.02)
    assert await running == 128 + signal.SIGKILL
    assert run.told == ["SIGTERM", "SIGKILL", "deleted"]


async def test_what_is_to_be_done_before_the_end_is_done_before_it_is_asked_to_end() -> None:
    stage = Stage(PretendedRuntime(), lifecycle={"preStop": {"exec": {"command": ["say", "bye"]}}})
    running = asyncio.create_task(stage.container.run())
    run = await stage.runtime.runs.get()
    stage.ending.begin(1)
    await running
    assert run.told == ["say bye", "SIGTERM", "deleted"]


async def test_a_container_whose_settings_are_missing_waits_and_says_what_for() -> None:
    stage = Stage(PretendedRuntime())
    stage.missing = "Secret shop/db does not exist"
    running = asyncio.create_task(stage.container.run())
    await stage.until(lambda: stage.said)
    assert stage.said == [("Failed", "Error: Secret shop/db does not exist")]
    assert stage.states[-1].now == Waiting("CreateContainerConfigError", "Secret shop/db does not exist")
    stage.ending.begin(1)
    await running
    assert stage.runtime.names == []


async def test_a_container_that_cannot_be_started_has_failed_with_the_runtime_s_words() -> None:
    runtime = PretendedRuntime()
    runtime.failure = "no such program"
    stage = Stage(runtime, "Never")
    assert await stage.container.run() == 128
    last = stage.states[-1].now
    assert isinstance(last, Ended)
    assert (last.exit_code, last.message) == (128, "no such program")


async def test_a_container_is_ready_once_its_probe_succeeds() -> None:
    stage = Stage(PretendedRuntime(), readinessProbe={"tcpSocket": {"port": 80}})
    running = asyncio.create_task(stage.container.run())
    await stage.until(lambda: stage.said[1:])
    assert stage.said[1] == ("Unhealthy", "Readiness probe failed: connection refused")
    assert not stage.states[-1].is_ready
    stage.prober.reason = ""
    await stage.until(lambda: stage.states[-1].is_ready)
    stage.ending.begin(1)
    await running


async def test_a_container_that_is_not_alive_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.lab.backoff.FIRST_SECONDS", 0.01)
    stage = Stage(PretendedRuntime(), livenessProbe={"tcpSocket": {"port": 80}, "failureThreshold": 1})
    running = asyncio.create_task(stage.container.run())
    first = await stage.runtime.runs.get()
    await stage.runtime.runs.get()
    assert first.told == ["SIGTERM", "deleted"]
    assert ("Killing", "Container main failed liveness probe, will be restarted") in stage.said
    stage.ending.begin(1)
    await running


async def test_a_container_that_has_not_started_is_asked_nothing_else() -> None:
    probe = {"tcpSocket": {"port": 80}}
    stage = Stage(PretendedRuntime(), startupProbe={**probe, "failureThreshold": 1000}, readinessProbe=probe)
    running = asyncio.create_task(stage.container.run())
    await stage.until(lambda: stage.said[1:])
    assert stage.said[1] == ("Unhealthy", "Startup probe failed: connection refused")
    assert not stage.states[-1].is_started
    stage.ending.begin(1)
    await running
