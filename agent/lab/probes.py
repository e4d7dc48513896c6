"""Readiness probes as a kubelet makes them: calls from the node, commands within the pod."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.api.kubernetes import Container, ContainerPort, PortReference, Probe
from agent.lab import commands
from agent.lab.prober import Prober
from agent.lab.sandbox import Sandbox

UNTIL_FIRST_SUCCESS_SECONDS = 0.2  # a lab must come up at once; later the probe's own period counts


class Thresholds(Protocol):
    """How many results in a row count."""

    @property
    def success_threshold(self) -> int: ...

    @property
    def failure_threshold(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the last results add up. Rules only."""

    is_ready: bool = False
    successes: int = 0
    failures: int = 0

    def after(self, *, succeeded: bool, probe: Thresholds) -> Readiness:
        successes = self.successes + 1 if succeeded else 0
        failures = 0 if succeeded else self.failures + 1
        is_ready = self.is_ready
        if successes >= probe.success_threshold:
            is_ready = True
        elif failures >= probe.failure_threshold:
            is_ready = False
        return Readiness(is_ready, successes, failures)


def port_number(ports: Sequence[ContainerPort], port: PortReference) -> int | None:
    """The number of a container's port that may be given by its name."""
    if isinstance(port, int):
        return port
    return next((known.container_port for known in ports if known.name == port), None)


async def succeeds(probe: Probe, container: Container, sandbox: Sandbox, prober: Prober) -> bool:
    """Whether the probe succeeds once, within its timeout: from the node, or for a command within the pod."""
    if probe.exec is not None:
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(probe.timeout_seconds):
                return await _exec(list(probe.exec.command), container, sandbox)
        return False
    action = probe.http_get or probe.tcp_socket
    port = port_number(container.ports, action.port) if action is not None else None
    if action is None or port is None:
        return False
    address = action.host or sandbox.address.texts[0]
    return (await prober.succeeds(action, address, port, probe.timeout_seconds)).succeeded


async def _exec(words: list[str], container: Container, sandbox: Sandbox) -> bool:
    line = commands.in_pod(sandbox.pause_pid, sandbox.container_cgroup(container.name), words)
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*line, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        return await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
