"""The `weft` command, as a person types it, and processes of the mesh that do not answer it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from agent.lab.record import ProcessId
from tests.support.mesh import ROOT, Mesh


def weft(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its exit status is not judged."""
    command = [sys.executable, "-m", "agent.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)


@contextlib.contextmanager
def stopped(mesh: Mesh, process: str) -> Iterator[None]:
    """A process of the mesh answers nothing while the block runs; one that ended would be started anew at once."""
    found = ProcessId.of(mesh.process(process))
    found.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        found.signal(signal.SIGCONT)
