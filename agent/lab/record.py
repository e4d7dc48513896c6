"""What a lab has made, written down before it is made, so that `down` finds it after any crash."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from agent.errors import InvalidObjectError, NotFoundError
from agent.lab import cgroups, namespaces
from agent.lab.layout import RUN, Layout
from agent.lab.oci import bundles


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for certain: ids are used again, but not with the same start."""

    pid: int
    start: int  # clock ticks after boot, /proc/PID/stat field 22

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """NotFoundError when no such process runs."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError as exc:
            raise NotFoundError(f"process {pid} does not run") from exc
        state, *fields = stat[stat.rindex(")") + 2 :].split()
        if state in "ZX":
            raise NotFoundError(f"process {pid} has ended")
        return cls(pid, int(fields[18]))

    @property
    def is_running(self) -> bool:
        try:
            return ProcessId.of(self.pid) == self
        except NotFoundError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(self.pid)
            try:
                if self.is_running:
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of a lab that is the nodes of a cluster: how to reach it, and its network namespace."""

    kubeconfig: str
    netns: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the lab has made outside its own folder, by exact name. server: none for a cluster of the lab's own."""

    supervisor: ProcessId
    nodes: tuple[str, ...]
    cgroup: str
    mounts: tuple[str, ...] = ()
    netns: tuple[str, ...] = field(default=())
    server: ApiServer | None = None

    def with_netns(self, name: str) -> Record:
        return replace(self, netns=(*self.netns, name))

    def without_netns(self, name: str) -> Record:
        return replace(self, netns=tuple(other for other in self.netns if other != name))


def read(path: Path) -> Record:
    """The record of a lab; NotFoundError without one."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as exc:
        raise NotFoundError(f"{path} does not exist; `weft lab up` makes a lab") from exc
    except ValueError as exc:
        raise InvalidObjectError(f"{path}: not JSON: {exc}") from exc
    return Record(
        supervisor=ProcessId(**found["supervisor"]),
        nodes=tuple(found["nodes"]),
        cgroup=found["cgroup"],
        mounts=tuple(found["mounts"]),
        netns=tuple(found["netns"]),
        server=ApiServer(**found["server"]) if found.get("server") else None,
    )


def write(path: Path, record: Record) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record), indent=1))
    temporary.rename(path)


class Ledger:
    """The record of a running lab: its one writer is the supervisor."""

    def __init__(self, path: Path, record: Record) -> None:
        self._path = path
        self._record = record
        write(path, record)

    @property
    def record(self) -> Record:
        return self._record

    def create_netns(self, name: str) -> None:
        """Write the name down, then make the namespace; one that was there before is left out of the record."""
        self._set(self._record.with_netns(name))
        try:
            namespaces.create(name)
        except BaseException:
            self._set(self._record.without_netns(name))
            raise

    def delete_netns(self, name: str) -> None:
        namespaces.delete(name)
        self._set(self._record.without_netns(name))

    def _set(self, record: Record) -> None:
        write(self._path, record)
        self._record = record


def tear_down(layout: Layout, record: Record) -> None:
    """Remove all that the record names, and the lab's folder. Runs any number of times.

    Pinned programs and links go with the bpffs they are pinned in.
    """
    cgroups.remove(Path(record.cgroup))
    bundles.remove_all(layout.root)
    for name in record.netns:
        namespaces.delete(name)
    for mount in (*map(Path, record.mounts), *namespaces.mounts_below(layout.root)):
        namespaces.unmount(mount)
    shutil.rmtree(layout.root, ignore_errors=True)
    with contextlib.suppress(OSError):  # another lab is up
        RUN.rmdir()
