"""The edge to cgroup2 and /proc: who a process is, and where a pod's network namespace is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ForbiddenError, KernelError, PodGoneError, PodNotReadyError

_MOUNTS = Path("/proc/self/mountinfo")
_UNSEEN = 0  # the number of a process that is not in the reader's PID namespace, nor below it


@dataclass(frozen=True, slots=True)
class Mount:
    """The cgroup2 file system: where it is mounted, and which part of the hierarchy it shows."""

    path: Path
    root: str

    def locate(self, cgroup: str) -> Path:
        """The directory of a cgroup as /proc/PID/cgroup writes it."""
        inside = os.path.relpath(cgroup, self.root)
        if inside.startswith(".."):
            raise KernelError(f"cgroup {cgroup} is outside {self.path}; the agent needs the host's cgroup namespace")
        return self.path / inside

    def below(self, wanted: Path | None) -> Path:
        """What is wanted of it, or all: of a hybrid hierarchy a person names the folder that it is mounted in."""
        return wanted if wanted is not None and (wanted == self.path or self.path in wanted.parents) else self.path


def find_mount(at: Path | None = None, mountinfo: str | None = None) -> Mount:
    """The cgroup2 mount, pure (/sys/fs/cgroup) or hybrid (/sys/fs/cgroup/unified).

    at: the one that this path is in, or else that is mounted below it: a container may see its own beside the node's.
    """
    text = _MOUNTS.read_text() if mountinfo is None else mountinfo
    mounts = [_mount(line) for line in text.splitlines() if line.partition(" - ")[2].split(" ", 1)[0] == "cgroup2"]
    if at is None:
        chosen = mounts
    else:
        around = [mount for mount in mounts if at == mount.path or mount.path in at.parents]
        below = [mount for mount in mounts if at in mount.path.parents]
        chosen = sorted(around, key=lambda mount: len(mount.path.parts), reverse=True) or below
    if not chosen:
        where = f" at {at}" if at is not None else ""
        raise KernelError(
            f"no cgroup2 file system{where} in /proc/self/mountinfo; mount the node's, /sys/fs/cgroup, where "
            "WEFT_CGROUP_ROOT is"
        )
    return chosen[0]


def _mount(line: str) -> Mount:
    _, _, _, root, path = line.split()[:5]
    return Mount(Path(path), root)


def cgroup_of(pid: int, mount: Mount) -> Path:
    """The directory of the process's cgroup. PodGoneError when there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError) as exc:
        raise PodGoneError(f"process {pid} has ended") from exc
    for line in lines:
        if line.startswith("0::"):
            return _listing(pid, mount, line.removeprefix("0::"))
    raise KernelError(f"process {pid} is in no cgroup2 hierarchy")


def _listing(pid: int, mount: Mount, cgroup: str) -> Path:
    """The directory that lists the process. In a cgroup namespace of its own the agent reads names that begin at its
    own cgroup, which lead nowhere from the node's mount; then all directories are asked."""
    if "/.." not in cgroup and "/.." not in mount.root:
        found = mount.locate(cgroup)
        if pid in _members(found):
            return found
    for folder, _, _ in os.walk(mount.path):
        if pid in _members(Path(folder)):
            return Path(folder)
    raise KernelError(f"process {pid} is in no cgroup below {mount.path}; the agent needs the whole of the node's")


def proxy_cgroup(pid: int, mount: Mount, root: Path, enrolled: Collection[str]) -> Path:
    """The cgroup of a process that shall be a node proxy, so that the hooks leave it alone.

    ForbiddenError unless it is a cgroup of its own below `root`, since everything in it is exempt, and
    none of a pod in `enrolled` (UIDs): a pod must not let itself out of the mesh.
    """
    found = cgroup_of(pid, mount)
    if found == root or root not in found.parents:
        raise ForbiddenError(f"process {pid} is in {found}; a node proxy needs a cgroup of its own below {root}")
    path = str(found.relative_to(root))
    for uid in enrolled:
        if any(spelling in path for spelling in spellings_of(uid)):
            raise ForbiddenError(f"process {pid} belongs to pod {uid}, which is in the mesh: it can be no node proxy")
    return found


def processes_of(uid: str, root: Path) -> list[int]:
    """The processes of a pod, the oldest first: those in cgroups whose name has its UID, and below them.

    KernelError when the agent is not in the node's PID namespace.

    Where the runtime knows only the hierarchies of version 1, cgroup2 does not show whose a process is, so
    without one there all processes are asked.
    """
    spellings = spellings_of(uid)
    folders = [folder for directory in _named(root, spellings) for folder, _, _ in os.walk(directory)]
    pids = {pid for folder in folders for pid in _members(Path(folder))} or set(_placed(spellings))
    if _UNSEEN in pids:
        raise KernelError(f"the processes of pod {uid} cannot be seen from here; the agent needs hostPID: true")
    started = {pid: start for pid in pids if (start := _start_of(pid)) is not None}
    return sorted(started, key=lambda pid: (started[pid], pid))


def names(cgroups: str, spellings: Collection[str]) -> bool:
    """Whether a /proc/PID/cgroup places the process in a cgroup so named, or below it, in any hierarchy."""
    paths = [line.split(":", 2)[-1] for line in cgroups.splitlines()]
    return any(spelling in path for path in paths for spelling in spellings)


def _placed(spellings: Collection[str]) -> Iterator[int]:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if names((path / "cgroup").read_text(), spellings):
                    yield int(path.name)


def spellings_of(uid: str) -> tuple[str, str]:
    """How a pod's UID may stand in the name of its cgroup: as it is with cgroupfs, for systemd with underscores."""
    return uid, uid.replace("-", "_")


def _named(root: Path, spellings: Collection[str]) -> Iterator[Path]:
    for folder, names, _ in os.walk(root):
        matching = [name for name in names if any(spelling in name for spelling in spellings)]
        yield from (Path(folder) / name for name in matching)
        names[:] = [name for name in names if name not in matching]


def _members(directory: Path) -> list[int]:
    try:
        return [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # the cgroup has gone meanwhile, or is threaded


def _start_of(pid: int) -> int | None:
    try:
        # The command may hold spaces and parentheses; field 22 counts from the last one.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return None


def open_netns(uid: str, root: Path) -> int:
    """A descriptor, the caller's, of the pod's network namespace: that of its oldest process.

    PodNotReadyError when it has no process yet or shares the node's namespace; KernelError when the agent may not
    look.
    """
    node = {_netns_inode(pid) for pid in ("1", "self")}
    for pid in processes_of(uid, root):
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as exc:
            raise KernelError(
                f"the network namespace of process {pid} cannot be opened: not permitted; is CAP_SYS_PTRACE missing, "
                "or does an AppArmor profile forbid it?"
            ) from exc
        except OSError:
            continue
        if os.fstat(fd).st_ino in node:
            os.close(fd)
            raise PodNotReadyError(f"process {pid} of the pod is in the node's network namespace")
        return fd
    raise PodNotReadyError(f"no process of the pod is in a cgroup below {root}")


def _netns_inode(pid: str) -> int:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0
