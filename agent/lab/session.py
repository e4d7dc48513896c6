"""Driving a lab from a program: the demo, the tests and the benchmarks type the same commands as a person."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.errors import NotFoundError, UnavailableError
from agent.node import libbpf

RUN = Path("/run/weft")
_WEFT = [sys.executable, "-m", "agent.cli.main"]


class Session:
    """One lab, by its name. Every method runs a `weft lab` command and raises UnavailableError when it fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = RUN / name

    def up(self, *paths: Path, nodes: int = 2, env: tuple[str, ...] = (), timeout: float = 60) -> None:
        """Returns when every pod is ready and every enrolled one captured."""
        settings = [part for setting in env for part in ("--env", setting)]
        arguments = ["up", "-d", "--name", self.name, "--nodes", str(nodes), *settings, *map(str, paths)]
        _checked([*_WEFT, "lab", *arguments], timeout)

    def join(self, kubeconfig: Path, control: str, nodes: int = 2, timeout: float = 60) -> None:
        """Be the nodes of a cluster; returns when they are registered."""
        cluster = ["--kubeconfig", str(kubeconfig), "--control", control]
        _checked([*_WEFT, "lab", "up", "-d", "--name", self.name, "--nodes", str(nodes), *cluster], timeout)

    def down(self) -> None:
        """Removes all of it; a lab that is not there is fine."""
        _checked([*_WEFT, "lab", "down", "--name", self.name], 60)

    def run(self, pod: str, *command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command in a pod (NAMESPACE/NAME) to its end; its exit status is not judged."""
        return subprocess.run(self._exec(pod, command), capture_output=True, text=True, timeout=timeout, check=False)

    @contextlib.contextmanager
    def started(self, pod: str, *command: str) -> Iterator[subprocess.Popen[str]]:
        """A command running in a pod while the block runs, standard input and output as pipes."""
        process = subprocess.Popen(
            self._exec(pod, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with process:
            try:
                yield process
            finally:
                process.terminate()

    def status(self) -> dict[str, Any]:
        """What `weft lab status -o json` says."""
        found: dict[str, Any] = json.loads(
            _checked([*_WEFT, "lab", "status", "--name", self.name, "-o", "json"], 20).stdout
        )
        return found

    def netns(self, node: str) -> str:
        """The name of a node's network namespace."""
        return f"weft-{self.name}-{node}"

    def programs(self) -> set[int]:
        """The kernel's ids of the BPF programs that run for this lab."""
        found = set()
        for path in (self.folder / "bpf").glob("**/links/*"):
            with contextlib.suppress(NotFoundError), libbpf.pinned(path) as link:
                found.add(libbpf.linked_program(link))
        return found

    def log(self, process: str) -> str:
        """All that a process of the mesh has logged, for example `node-1-proxy`."""
        return (self.folder / "logs" / f"{process}.log").read_text(errors="replace")

    def _exec(self, pod: str, command: tuple[str, ...]) -> list[str]:
        return [*_WEFT, "lab", "exec", "--name", self.name, pod, "--", *command]


def until(what: str, holds: Callable[[], object], timeout: float = 20, pause: float = 0.05) -> None:
    """Wait until a condition is truthy, asked every `pause` seconds; UnavailableError names `what` when it never is."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise UnavailableError(f"after {timeout:g} s still not: {what}")
        time.sleep(pause)


def leftovers(name: str) -> list[str]:
    """What a lab of this name has left on the machine: namespaces, cgroups, mounts, processes, files."""
    prefix = f"weft-{name}"
    run = str(RUN / name)
    netns = Path("/run/netns")
    found = [f"namespace {path.name}" for path in netns.glob(f"{prefix}-*")] if netns.exists() else []
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    found += [f"mount {mount}" for mount in mounts if mount == run or mount.startswith(run + "/")]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{prefix}")]
    found += [f"file {run}"] if os.path.lexists(run) else []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            has_ended = (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if f"/{prefix}/" in (process / "cgroup").read_text() and not has_ended:
                found.append(f"process {process.name}")
    return found


def _checked(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as exc:
        raise UnavailableError(f"{' '.join(command[2:])} did not end within {timeout:g} s") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise UnavailableError(f"{' '.join(command[2:])} failed with {done.returncode}: {said}")
    return done
