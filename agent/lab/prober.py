"""A lab node's kubelet as the network knows it: one process in the node's namespace that makes the calls of probes.

The node agent lets a kubelet's connections past policy, and knows them by the cgroup of the
process that made them; so in the lab, too, they come from a process with that name and a
cgroup of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import agent
from agent.api.kubernetes import HttpGetAction, TcpSocketAction
from agent.api.pods.containers import HttpProbe
from agent.errors import UnavailableError
from agent.lab import cgroups, commands, probe_calls
from agent.lab.backoff import next_delay
from agent.lab.layout import Layout
from agent.lab.probe_calls import Answer, Call

logger = logging.getLogger(__name__)

# What the process may take longer than the call itself, before it counts as dead.
_SLACK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a probe; `reason` says why it failed."""

    succeeded: bool
    reason: str = ""


class Prober:
    """The calls of one node's kubelet. `run` keeps its process alive; `succeeds` may be called from any task."""

    def __init__(self, layout: Layout, node: str) -> None:
        self._node = node
        self._netns = layout.netns(node)
        self._cgroup = layout.process_cgroup(node, probe_calls.NAME)
        self._log = layout.log(f"{node}-kubelet")
        self._process: asyncio.subprocess.Process | None = None
        self._running = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep the process running, for ever. Cancelled, it ends it."""
        cgroups.create(self._cgroup)
        delay = 0.0
        while True:
            started = time.monotonic()
            await self._live()
            delay = next_delay(delay, time.monotonic() - started)
            logger.warning("the prober ended", extra={"node": self._node, "next_start_seconds": delay})
            await asyncio.sleep(delay)

    async def succeeds(
        self, action: HttpGetAction | TcpSocketAction, address: str, port: int, timeout_seconds: float
    ) -> Outcome:
        """Whether a call to that address and port succeeds, in time; the action's own host and port do not count."""
        try:
            # A pod that is probed while the process starts anew must not fail for that.
            async with asyncio.timeout(timeout_seconds + _SLACK_SECONDS):
                await self._running.wait()
                answer = await self._ask(action, address, port, timeout_seconds)
        except (TimeoutError, UnavailableError):
            return Outcome(False, f"the kubelet of {self._node} has no process that probes")
        return Outcome(not answer["reason"], answer["reason"])

    async def _ask(
        self, action: HttpGetAction | TcpSocketAction, address: str, port: int, timeout_seconds: float
    ) -> Answer:
        if self._process is None or self._process.stdin is None:
            raise UnavailableError("the prober does not run")
        self._number += 1
        call = _call(self._number, action, address, port, timeout_seconds)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[call["number"]] = answer
        try:
            self._process.stdin.write(json.dumps(call).encode() + b"\n")
            return await answer
        finally:
            self._waiting.pop(call["number"], None)

    async def _live(self) -> None:
        """One life of the process."""
        process = await self._start()
        try:
            self._process = process
            self._running.set()
            await self._listen(process)
        finally:
            self._running.clear()
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(UnavailableError("the prober has ended"))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "the prober's standard output is a pipe"
        while line := await process.stdout.readline():
            answer: Answer = json.loads(line)
            waiting = self._waiting.get(answer["number"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        line = commands.in_netns(self._netns, self._cgroup, [sys.executable, "-m", probe_calls.__name__])
        # Found where this very code was found, installed or not.
        environment = {**os.environ, "PYTHONPATH": str(Path(agent.__file__).parent.parent)}
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *line, stdin=pipe, stdout=pipe, stderr=log, env=environment, start_new_session=True
            )


def _call(
    number: int, action: HttpGetAction | TcpSocketAction, address: str, port: int, timeout_seconds: float
) -> Call:
    headers = action.http_headers if isinstance(action, HttpProbe) else ()
    return {
        "number": number,
        "address": address,
        "port": port,
        "seconds": timeout_seconds,
        "scheme": action.scheme if isinstance(action, HttpGetAction) else "",
        "path": action.path if isinstance(action, HttpGetAction) else "",
        "headers": [(header.name, header.value) for header in headers],
    }
