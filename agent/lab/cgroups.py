"""The lab's cgroups: every process the lab starts is in one, so none can be lost."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from agent.errors import KernelError

MOUNTINFO = Path("/proc/self/mountinfo")


def find_root(mountinfo: str) -> Path:
    """Where cgroup2 is mounted, alone or beside version 1; KernelError when it is not."""
    for line in mountinfo.splitlines():
        mount, _, filesystem = line.partition(" - ")
        if filesystem.split(" ", 1)[0] == "cgroup2":
            return Path(mount.split()[4])
    raise KernelError("cgroup2 is not mounted; try: mount -t cgroup2 none /sys/fs/cgroup/unified")


def create(path: Path) -> None:
    """Make a cgroup and those above it; one that is there is fine."""
    path.mkdir(parents=True, exist_ok=True)


def processes(path: Path) -> list[int]:
    """Ids of the processes in a cgroup and below it."""
    found: list[int] = []
    for folder in _with_children(path):
        with contextlib.suppress(OSError):  # the cgroup has just gone
            found += [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    return found


def kill(path: Path) -> None:
    """Send SIGKILL to every process in a cgroup and below it; nothing happens without the cgroup."""
    with contextlib.suppress(FileNotFoundError):
        (path / "cgroup.kill").write_text("1")  # Linux 5.14


def remove(path: Path, patience_seconds: float = 3.0) -> None:
    """Kill what is in a cgroup and below it, wait until all have ended, and remove the folders.

    Blocks, for milliseconds as a rule. KernelError names processes that do not end in time.
    """
    deadline = time.monotonic() + patience_seconds
    while path.is_dir():
        kill(path)
        for folder in reversed(_with_children(path)):
            with contextlib.suppress(OSError):  # busy: a process is still ending
                folder.rmdir()
        if path.is_dir():
            if time.monotonic() > deadline:
                raise KernelError(f"{path}: processes {processes(path)} do not end; are they stuck in the kernel?")
            time.sleep(0.005)


def _with_children(path: Path) -> list[Path]:
    """The cgroup and all below it, parents first."""
    return [Path(folder) for folder, _, _ in os.walk(path)]
