"""The edge to /proc that finds the node's kubelet: whose connections are probes, which no policy judges.

A name proves nothing, so a process counts only where nobody but the node's root could have put
it: outside every pod, in a cgroup of its own below the node's root, with root's rights, in the
node's network namespace. What shares its cgroup with a pod's process is nobody's word.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ForbiddenError, KernelError, PodGoneError, WeftError
from agent.node.cgroups import Mount, cgroup_of

# The program that a kubelet is part of, as /proc/PID/comm writes it, and its first argument where
# the program is more than that: Kubernetes itself and most distributions, MicroK8s, k3s.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "kubelet": (),
    "kubelite": (),
    "k3s-server": (),
    "k3s-agent": (),
    "k3s": ("server", "agent"),
}
# Of kubelets' cgroups for pods, and of one pod: its UID, or of a static pod the hash of its manifest.
_OF_PODS = re.compile(r"kubepods|[0-9a-f]{8}([-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|pod[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Found:
    """A kubelet that runs; `process` is a descriptor of it, the owner's to close."""

    pid: int
    process: int
    cgroup: Path

    def is_there(self) -> bool:
        """Whether it still runs, in that cgroup."""
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self.process, select.POLLIN)
        return not poll.poll(0) and self.pid in members(self.cgroup)


@dataclass(frozen=True, slots=True)
class Place:
    """The node: its cgroups, the cgroup that all of its pods and its kubelet are below, its first process."""

    mount: Mount
    root: Path
    init: int = 1

    def search(self) -> tuple[list[Found], list[str]]:
        """The kubelets, by number, and why other processes with such a name are none."""
        found: list[Found] = []
        refused: list[str] = []
        for pid in _named():
            try:
                found.append(self._examine(pid))
            except PodGoneError:
                continue
            except WeftError as exc:
                refused.append(str(exc))
        return found, refused

    def _examine(self, pid: int) -> Found:
        """ForbiddenError unless that process is a kubelet."""
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError as exc:
            raise PodGoneError(f"process {pid} has ended") from exc
        try:
            cgroup = self.check(self._cgroup_of(pid))
            if (user := _user(pid)) != 0:
                raise ForbiddenError(f"process {pid} runs as user {user}, a kubelet runs as root")
            node = self._netns()
            if node is not None and _netns(pid) != node:
                raise ForbiddenError(f"process {pid} is not in the node's network namespace")
            found = Found(pid, process, cgroup)
            if not found.is_there():  # the number may be another process's by now
                raise PodGoneError(f"process {pid} has ended or moved")
        except BaseException:
            os.close(process)
            raise
        return found

    def _cgroup_of(self, pid: int) -> Path:
        """PodGoneError when the process is another node's: nodes may be containers of one machine."""
        try:
            cgroup = cgroup_of(pid, self.mount)
        except KernelError as exc:
            raise PodGoneError(f"process {pid} is in none of the node's cgroups") from exc
        if not self._has(cgroup):
            raise PodGoneError(f"process {pid} is in {cgroup}, not below {self.root}")
        return cgroup

    def check(self, cgroup: Path) -> Path:
        """The cgroup, when it can be a kubelet's. ForbiddenError when it is gone or a pod's, or has a pod's process."""
        if not cgroup.is_dir():
            raise ForbiddenError(f"{cgroup} does not exist")
        if self.root not in cgroup.parents:
            raise ForbiddenError(f"{cgroup} is no cgroup of its own below {self.root}")
        if is_of_pods(str(cgroup.relative_to(self.root))):
            raise ForbiddenError(f"{cgroup} is a pod's")
        init = _placement(self.init)
        for pid in members(cgroup):
            if is_in_pod(_placement(pid), init):
                raise ForbiddenError(f"{cgroup} has process {pid}, which is a pod's: nothing tells the two apart")
        return cgroup

    def _netns(self) -> int | None:
        """The node's network namespace, None where its init is not below the root (then it is another node's)."""
        try:
            cgroup = cgroup_of(self.init, self.mount)
        except WeftError:
            return None
        return _netns(self.init) if self._has(cgroup) else None

    def _has(self, cgroup: Path) -> bool:
        return cgroup == self.root or self.root in cgroup.parents


def is_of_pods(path: str) -> bool:
    """Whether a cgroup so named is a pod's, or holds pods."""
    return _OF_PODS.search(path) is not None


def is_in_pod(placement: str, init: str) -> bool:
    """Whether a /proc/PID/cgroup places the process in a pod, in any hierarchy.

    init: that of the node's first process; what is above it (of a node that is a container) says nothing.
    """
    bases = dict(_hierarchies(init))
    return any(is_of_pods(path.removeprefix(bases.get(name, ""))) for name, path in _hierarchies(placement))


def _hierarchies(placement: str) -> Iterator[tuple[str, str]]:
    for line in placement.splitlines():
        _, name, path = line.split(":", 2)
        yield name, path


def members(cgroup: Path) -> list[int]:
    """The processes in a cgroup itself; none when it is gone."""
    try:
        return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _named() -> Iterator[int]:
    for pid in sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
        arguments = NAMES.get(_read(f"/proc/{pid}/comm").strip())
        if arguments is not None and (not arguments or _first_argument(pid) in arguments):
            yield pid


def _first_argument(pid: int) -> str:
    return [*_read(f"/proc/{pid}/cmdline").split("\0"), ""][1]


def _user(pid: int) -> int | None:
    # Not the owner of /proc/PID: whoever forbids to be traced makes that root.
    found = re.search(r"^Uid:\t\d+\t(\d+)", _read(f"/proc/{pid}/status"), re.MULTILINE)
    return int(found[1]) if found else None


def _netns(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except PermissionError as exc:
        raise ForbiddenError(f"process {pid} cannot be looked at; is CAP_SYS_PTRACE missing?") from exc
    except OSError as exc:
        raise PodGoneError(f"process {pid} has ended") from exc


def _placement(pid: int) -> str:
    return _read(f"/proc/{pid}/cgroup")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
