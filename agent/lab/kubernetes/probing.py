"""The three questions that a container is asked while it runs: has it started, is it alive, is it ready?"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from agent.api.pods.containers import ContainerProbe, RunnableContainer
from agent.errors import KernelError
from agent.lab.oci.running import RunningContainer
from agent.lab.prober import Prober
from agent.lab.probes import UNTIL_FIRST_SUCCESS_SECONDS, Readiness, port_number

Question = Literal["Startup", "Liveness", "Readiness"]
Call = Callable[[ContainerProbe], Awaitable[str]]


class Listener(Protocol):
    """Who wants to know the answers."""

    def answered(self, question: Question, *, holds: bool) -> None:
        """As many calls in a row as the probe asks for have agreed. Again at each that fails after that."""

    def complained(self, question: Question, reason: str) -> None:
        """A call has failed; told once a period."""


async def ask(container: RunnableContainer, call: Call, listener: Listener) -> None:
    """Ask all of a container's questions, for ever: the others once it has started.

    call: asks once, and says why that failed, nothing when it did not.
    """
    if container.startup_probe is not None:
        await _keep_asking("Startup", container.startup_probe, call, listener)
    async with asyncio.TaskGroup() as group:
        if container.liveness_probe is not None:
            group.create_task(_keep_asking("Liveness", container.liveness_probe, call, listener))
        if container.readiness_probe is not None:
            group.create_task(_keep_asking("Readiness", container.readiness_probe, call, listener))


async def _keep_asking(question: Question, probe: ContainerProbe, call: Call, listener: Listener) -> None:
    await asyncio.sleep(probe.initial_delay_seconds)
    clock = asyncio.get_running_loop().time
    counts, complained = Readiness(is_ready=question == "Liveness"), -math.inf
    while True:
        reason = await call(probe)
        before, counts = counts, counts.after(succeeded=not reason, probe=probe)
        if reason and clock() - complained >= probe.period_seconds:
            complained = clock()
            listener.complained(question, reason)
        if counts.is_ready != before.is_ready or counts.failures >= probe.failure_threshold:
            listener.answered(question, holds=counts.is_ready)
        if question == "Startup" and counts.is_ready:
            return
        is_eager = question == "Readiness" and not counts.is_ready
        await asyncio.sleep(UNTIL_FIRST_SUCCESS_SECONDS if is_eager else probe.period_seconds)


async def call(
    probe: ContainerProbe, container: RunnableContainer, running: RunningContainer, prober: Prober, address: str
) -> str:
    """Ask once, from the node or, for a command, in the container; why that failed, or nothing."""
    if probe.exec is not None:
        return await _run(list(probe.exec.command), running, probe.timeout_seconds)
    action = probe.http_get or probe.tcp_socket
    port = port_number(container.ports, action.port) if action is not None else None
    if action is None or port is None:
        return f"the container has no port {action.port!r}" if action is not None else "gRPC probes are not made here"
    outcome = await prober.succeeds(action, action.host or address, port, probe.timeout_seconds)
    return "" if outcome.succeeded else outcome.reason


async def _run(words: list[str], running: RunningContainer, seconds: float) -> str:
    try:
        answer = await running.run(words, seconds)
    except TimeoutError:
        return f"command {words[0]} took longer than {seconds:g} s"
    except KernelError as exc:
        return str(exc)
    said = answer.output.decode(errors="replace").strip()
    return "" if answer.status == 0 else f"command {words[0]} ended with {answer.status}: {said}"
