"""The life of one container: started, probed, started again when it ends, and asked to end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeGuard

from agent.api.pods.containers import ContainerProbe, RunnableContainer
from agent.errors import InvalidObjectError, KernelError, NotFoundError, WeftError
from agent.kube import Object
from agent.lab.backoff import next_delay
from agent.lab.kubernetes import probing
from agent.lab.kubernetes.probing import Question
from agent.lab.kubernetes.states import ContainerState, Ended, Waiting
from agent.lab.kubernetes.waiting import Ending, beside, first
from agent.lab.oci.running import RunningContainer
from agent.lab.oci.runtime import Runtime
from agent.lab.prober import Prober

_UNSTARTED = 128  # the exit code of a container that could not be started


class Say(Protocol):
    def __call__(self, reason: str, message: str, container: str = "") -> None:
        """Write an event of the pod."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container gets from its pod.

    name: begins the names of its runs. specification: what to run, made anew for every run; NotFoundError,
    InvalidObjectError or OSError says what is missing or wrong.
    """

    name: str
    address: str
    restart_policy: str
    grace_seconds: float
    ending: Ending
    runtime: Runtime
    prober: Prober
    specification: Callable[[], Object]
    log: Path
    say: Say


class ContainerRun:
    """Runs one container until its restart policy, or its pod's end, says that it is over."""

    def __init__(
        self,
        container: RunnableContainer,
        surroundings: Surroundings,
        state: ContainerState,
        on_change: Callable[[ContainerState], None],
    ) -> None:
        self._container = container
        self._around = surroundings
        self._state = state
        self._on_change = on_change
        self._running: RunningContainer | None = None
        self._name = ""
        self._attempts = 0
        self._failing = Ending()  # a probe wants this run to end
        self._has_started = asyncio.Event()

    @property
    def name(self) -> str:
        """The runtime's name of it; empty while it does not run."""
        return self._name

    async def has_started(self) -> None:
        """Return once it has run, and its startup probe has succeeded."""
        await self._has_started.wait()

    async def run(self) -> int:
        """Run it; the exit code of its last run. Cancelled, it ends what runs at once."""
        delay = 0.0
        while True:
            started = time.monotonic()
            code = await self._once()
            if self._is_over(code):
                return code
            delay = next_delay(delay, time.monotonic() - started)
            if code is not None:
                self._await_restart(delay)
            await first(self._around.ending.begun(), asyncio.sleep(delay))
            if self._around.ending.has_begun:
                return _UNSTARTED if code is None else code

    def answered(self, question: Question, *, holds: bool) -> None:
        if question == "Readiness":
            self._set(replace(self._state, is_ready=holds))
        elif question == "Startup" and holds:
            self._set(replace(self._state, is_started=True, is_ready=self._container.readiness_probe is None))
            self._has_started.set()
        elif not self._failing.has_begun and not self._around.ending.has_begun:
            probe = self._container.startup_probe if question == "Startup" else self._container.liveness_probe
            own = probe.termination_grace_period_seconds if probe is not None else None
            self._say("Killing", f"Container {self._container.name} failed {question.lower()} probe, will be restarted")
            self._failing.begin(self._around.grace_seconds if own is None else own)

    def complained(self, question: Question, reason: str) -> None:
        self._say("Unhealthy", f"{question} probe failed: {reason}")

    async def _once(self) -> int | None:
        """One run, from its start to its end: the exit code; None when it could not be tried."""
        around, began = self._around, datetime.now(UTC)
        try:
            specification = around.specification()
        except (NotFoundError, InvalidObjectError, OSError) as exc:
            self._set(self._state.waiting(Waiting("CreateContainerConfigError", str(exc))))
            self._say("Failed", f"Error: {exc}")
            return None
        restarts = self._attempts
        self._attempts += 1
        name = f"{around.name}-{restarts}"
        try:
            running = await around.runtime.start(name, specification, around.log)
        except WeftError as exc:
            self._say("Failed", f"Error: {exc}")
            self._set(self._state.ended(Ended(name, _UNSTARTED, began, datetime.now(UTC), str(exc)), restarts))
            return _UNSTARTED
        self._running, self._name, self._failing = running, name, Ending()
        try:
            code = await self._attend(running, name, restarts)
        finally:
            self._running, self._name = None, ""
            await running.delete()
        self._set(self._state.ended(Ended(name, code, began, datetime.now(UTC)), restarts))
        return code

    async def _attend(self, running: RunningContainer, name: str, restarts: int) -> int:
        """Probe a run until it ends, by itself or because it is told to; its exit code."""
        container = self._container
        is_started = container.startup_probe is None
        state = self._state.started(name, datetime.now(UTC), restarts, is_started=is_started)
        self._set(replace(state, is_ready=is_started and container.readiness_probe is None))
        self._say("Started", f"Started container {container.name}")
        if is_started:
            self._has_started.set()
        async with beside(probing.ask(container, self._call, self)):
            if await first(running.wait(), self._around.ending.begun(), self._failing.begun()) != 0:
                if self._around.ending.has_begun:
                    self._say("Killing", f"Stopping container {container.name}")
                await self._stop(running)
            return await running.wait()

    async def _call(self, probe: ContainerProbe) -> str:
        if self._running is None:
            return "the container does not run"
        return await probing.call(probe, self._container, self._running, self._around.prober, self._around.address)

    async def _stop(self, running: RunningContainer) -> None:
        """What the container asks to be done before, SIGTERM, and SIGKILL when its time is over."""
        over = (self._around.ending.over(), self._failing.over())
        if await first(running.wait(), self._prepare_end(running), *over) == 1:
            running.signal(signal.SIGTERM)
            over = (self._around.ending.over(), self._failing.over())
            await first(running.wait(), *over)
        running.signal(signal.SIGKILL)

    async def _prepare_end(self, running: RunningContainer) -> None:
        action = self._container.lifecycle.pre_stop
        if action is None:
            return
        if action.sleep is not None:
            await asyncio.sleep(action.sleep.seconds)
        elif action.exec is not None:
            try:
                answer = await running.run(action.exec.command, self._around.grace_seconds)
                reason = f"status {answer.status}: {answer.output.decode(errors='replace')}" if answer.status else ""
            except (TimeoutError, KernelError) as exc:
                reason = str(exc) or "it took too long"
            if reason:
                self._say("FailedPreStopHook", f"PreStopHook failed: {reason}")

    def _is_over(self, code: int | None) -> TypeGuard[int]:
        if code is None:
            return False
        policy = self._around.restart_policy
        return self._around.ending.has_begun or policy == "Never" or (policy == "OnFailure" and code == 0)

    def _await_restart(self, delay: float) -> None:
        message = f"back-off {delay:g}s restarting failed container={self._container.name}"
        self._set(self._state.waiting(Waiting("CrashLoopBackOff", message)))
        self._say("BackOff", f"Back-off restarting failed container {self._container.name}")

    def _set(self, state: ContainerState) -> None:
        self._state = state
        self._on_change(state)

    def _say(self, reason: str, message: str) -> None:
        self._around.say(reason, message, self._container.name)
