"""The edge to runc: containers that start, run, and leave nothing behind.

One `runc run` stays with each container: it passes on the output and says how the container
ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from asyncinotify import Inotify, Mask

import agent
from agent.errors import KernelError
from agent.kube import Object
from agent.lab import cgroups
from agent.lab.oci import bundles, root
from agent.lab.oci.bundles import Bundle
from agent.lab.oci.privileges import CAPABILITIES, Machine
from agent.lab.oci.running import RunningContainer, command_line, words_of
from agent.lab.oci.seccomp import Profile

SECCOMP = Path("/usr/share/containers/seccomp.json")
_STATUS = Path("/proc/self/status")
_PACKAGE = Path(agent.__file__).parent
# What a container needs of the machine to run our programs and Debian's.
_SHOWN = (Path("/usr"), Path(sys.prefix), _PACKAGE, _PACKAGE.parent / "bpf")


def read_machine() -> Machine:
    """What this machine has for containers, for Place.machine; KernelError without Debian's seccomp profile."""
    try:
        rules = json.loads(SECCOMP.read_text())
    except (OSError, ValueError) as exc:
        raise KernelError(f"{SECCOMP}: {exc}; run: apt-get install -y golang-github-containers-common") from exc
    return Machine(Profile(rules, platform.machine()), _own_capabilities(_STATUS.read_text()))


def _own_capabilities(status: str) -> frozenset[str]:
    bits = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)
    return frozenset(name for number, name in enumerate(CAPABILITIES) if bits >> number & 1)


class Runtime:
    """Runs containers; one per lab. All it keeps is below `folder`, the lab's: bundles.remove_all() removes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def start(self, name: str, specification: Object, log: Path) -> RunningContainer:
        """Start a container; it runs when this returns, or has run. Its output is appended to `log`.

        name: unique in the lab among the containers that are not deleted, of letters, digits,
        '-', '_' and '.' (PODUID-CONTAINER-ATTEMPT, say); ConflictError when it is not.
        KernelError has runc's words when the container does not start, a missing program
        included; nothing of it is left then.
        """
        bundle = bundles.claim(self._folder, name)
        try:
            await _to_its_end(lambda: bundles.fill(bundle, _with_separate_mounts(specification), _SHOWN))
            return await _run(bundle, log)
        except BaseException:
            await asyncio.to_thread(bundles.remove, bundle)
            raise


async def _run(bundle: Bundle, log: Path) -> RunningContainer:
    words = ["run", "--bundle", str(bundle.path), "--pid-file", str(bundle.pid), bundle.name]
    with Inotify() as inotify, log.open("ab") as output:
        inotify.add_watch(bundle.path, Mask.MOVED_TO)
        runc = await asyncio.create_subprocess_exec(
            *command_line(bundle, bundle.errors, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            await _until_started(bundle, runc, inotify)
            pid = int(bundle.pid.read_text())
            return RunningContainer(bundle, runc, pid, _pidfd(pid))
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                runc.kill()
            await runc.wait()
            raise


async def _until_started(bundle: Bundle, runc: asyncio.subprocess.Process, inotify: Inotify) -> None:
    """Return when runc has written the container's process id; KernelError when it ends without."""
    ended = asyncio.ensure_future(runc.wait())
    try:
        while not bundle.pid.exists():
            if ended.done():
                raise KernelError(f"container {bundle.name}: {words_of(bundle.errors)}")
            event = asyncio.ensure_future(inotify.get())
            try:
                await asyncio.wait({ended, event}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                event.cancel()
    finally:
        ended.cancel()


async def _to_its_end(work: Callable[[], None]) -> None:
    """Run on a thread; a cancellation waits, for nobody could undo what is still being done."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:  # it has ended already
        return None


def _with_separate_mounts(specification: Object) -> Object:
    separate = root.separate_mounts(cgroups.MOUNTINFO.read_text(), _SHOWN)
    return {**specification, "mounts": [*separate, *specification["mounts"]]}
