"""The lab's cgroups: every process the lab starts is in one, so none can be lost.

The lab uses version 2. Where the machine has version 1 beside it, a container runtime makes
the same cgroup in each of its hierarchies too; they are removed together.
"""

from __future__ import annotations

import contextlib
import errno
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


def find_version_1(mountinfo: str) -> list[Path]:
    """Where hierarchies of version 1 are mounted."""
    mounts = [line.partition(" - ") for line in mountinfo.splitlines()]
    return [Path(mount.split()[4]) for mount, _, filesystem in mounts if filesystem.split(" ", 1)[0] == "cgroup"]


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
    try:
        (path / "cgroup.kill").write_text("1")  # Linux 5.14
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENODEV):  # the latter while somebody removes it
            raise


def remove(path: Path, patience_seconds: float = 3.0) -> None:
    """Kill what is in a cgroup and below it, wait until all have ended, and remove the folders, in all hierarchies.

    Blocks, for milliseconds as a rule. KernelError names processes that do not end in time.
    """
    deadline = time.monotonic() + patience_seconds
    every = [path, *_of_version_1(path)]
    while left := [place for place in every if place.is_dir()]:
        kill(path)
        for folder in (folder for place in left for folder in reversed(_with_children(place))):
            with contextlib.suppress(OSError):  # busy: a process is still ending
                folder.rmdir()
        left = [place for place in left if place.is_dir()]
        if left and time.monotonic() > deadline:
            stuck = {pid for place in left for pid in processes(place)}
            raise KernelError(f"{left[0]}: processes {sorted(stuck)} do not end; are they stuck in the kernel?")
        if left:
            time.sleep(0.005)


def _of_version_1(path: Path) -> list[Path]:
    mountinfo = MOUNTINFO.read_text()
    root = find_root(mountinfo)
    if not path.is_relative_to(root):
        return []
    return [mount / path.relative_to(root) for mount in find_version_1(mountinfo)]


def _with_children(path: Path) -> list[Path]:
    """The cgroup and all below it, parents first."""
    return [Path(folder) for folder, _, _ in os.walk(path)]
