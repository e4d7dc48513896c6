"""A container that runs: waiting for its end, signals, commands in it, its removal."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import KernelError
from agent.lab import cgroups
from agent.lab.oci import bundles
from agent.lab.oci.bundles import Bundle

_PIPE = asyncio.subprocess.PIPE
_END_SECONDS = 3.0  # for runc to see that what it waits for has been killed
_UNSTARTED = 255  # runc exec's status for a command that could not be started


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in a container came to: its exit status and its output, standard error included."""

    status: int
    output: bytes


class RunningContainer:
    """A container that was started; who started it calls delete(), also after its end."""

    def __init__(self, bundle: Bundle, runc: asyncio.subprocess.Process, pid: int, pidfd: int | None) -> None:
        self.pid = pid  # of its first process, as the machine counts
        self._bundle = bundle
        self._runc = runc
        self._pidfd = pidfd
        self._numbers = itertools.count()

    async def wait(self) -> int:
        """Its exit status once it has ended, 128 + N when signal N ended it. Several may wait, also after the end."""
        status = await self._runc.wait()
        return status if status >= 0 else 128 - status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process; nothing happens when it has ended."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def run(self, words: Sequence[str], timeout_seconds: float) -> Answer:
        """Run a command in the container, with its user, privileges and environment, and wait for its end.

        For probes and preStop. TimeoutError after `timeout_seconds`, and the command is killed;
        KernelError with runc's words when it cannot be started.
        """
        number = next(self._numbers)
        errors, pid = (self._bundle.path / f"exec-{number}.{kind}" for kind in ("log", "pid"))
        process = await asyncio.create_subprocess_exec(
            *command_line(self._bundle, errors, "exec", "--pid-file", str(pid), self._bundle.name, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=_PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                output, _ = await process.communicate()
            if process.returncode == _UNSTARTED and not pid.exists():
                raise KernelError(f"{' '.join(words)}: {words_of(errors)}")
            return Answer(128 - code if (code := process.returncode or 0) < 0 else code, output)
        finally:
            if process.returncode is None:
                _kill(process, pid)
                await ended(process)
            for file in (errors, pid):
                file.unlink(missing_ok=True)

    async def delete(self) -> None:
        """Kill what runs, and remove the container: processes, mounts, cgroups, files. Its log stays.

        Can be called any number of times.
        """
        self.signal(signal.SIGKILL)
        if cgroup := self._bundle.cgroup:
            cgroups.kill(cgroup)
        await ended(self._runc)
        await asyncio.to_thread(bundles.remove, self._bundle)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def command_line(bundle: Bundle, errors: Path, *words: str) -> list[str]:
    """A command of runc, about the containers of the bundle's lab."""
    return ["runc", "--root", str(bundle.states), "--log", str(errors), "--log-format", "json", *words]


def words_of(errors: Path) -> str:
    """Why runc failed, from what it has written of itself."""
    with contextlib.suppress(FileNotFoundError):
        lines = [json.loads(line) for line in errors.read_text().splitlines() if line.startswith("{")]
        said = [str(line["msg"]) for line in lines if line["level"] in ("error", "fatal")]
        if said:
            return said[-1]
    return "runc has not said why"


async def ended(runc: asyncio.subprocess.Process) -> None:
    """Wait for the end of a runc whose container, or command, has been killed; it tidies up."""
    try:
        async with asyncio.timeout(_END_SECONDS):
            await runc.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            runc.kill()
        await runc.wait()


def _kill(process: asyncio.subprocess.Process, pid: Path) -> None:
    """Kill a command of `runc exec` with its process group, which it leads; or runc, if that has not started it."""
    with contextlib.suppress(ProcessLookupError):
        try:
            os.killpg(int(pid.read_text()), signal.SIGKILL)
        except FileNotFoundError:
            process.kill()
