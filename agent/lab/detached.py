"""A lab in the background: started, and awaited until all of it is up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import agent
from agent.errors import ConflictError, NotFoundError, UnavailableError
from agent.lab import readiness, record, status
from agent.lab.kubernetes import status as of_pods
from agent.lab.layout import Layout
from agent.lab.serving import SUPERVISOR


def start(layout: Layout, arguments: list[str], timeout: float) -> None:
    """Run `lab up` in the background, and wait until all of the lab is up."""
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "agent.cli.main", "lab", "up", "--background", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(agent.__file__).parent.parent)},
    )
    # Its standard error ends when the network stands and it logs to its file, or when it has failed.
    output = supervisor.stderr.read() if supervisor.stderr is not None else b""
    said = output.decode(errors="replace").strip().removeprefix("weft: ")
    try:
        found = record.read(layout.record)
    except NotFoundError as exc:
        raise UnavailableError(f"the lab did not start: {said}") from exc
    if found.supervisor.pid != supervisor.pid:  # another lab of that name
        raise ConflictError(said)
    _wait_until_up(layout, found, timeout)


def _wait_until_up(layout: Layout, found: record.Record, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while missing := _missing(now := read(layout, found), layout, found):
        if not now.is_supervised:
            raise UnavailableError(
                f"the lab's supervisor has ended, see {layout.log(SUPERVISOR)}; `weft lab down` cleans up"
            )
        if now.report["problems"] or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    problems = [problem["text"] for problem in now.report["problems"]]
    if problems or missing:
        raise UnavailableError(
            f"lab {layout.name} is not wholly up:\n  "
            + "\n  ".join(problems + missing)
            + f"\nIt goes on running: see `weft lab status --name {layout.name}` and `weft lab logs`"
        )


def _missing(now: status.Status, layout: Layout, found: record.Record) -> list[str]:
    """What `up -d` waits for; what runs on a cluster's nodes is the cluster's business."""
    if found.server is not None:
        return [] if now.report["is_applied"] else ["the nodes are not registered yet"]
    return now.missing() + readiness.unready(layout, found.nodes)


def read(layout: Layout, found: record.Record) -> status.Status:
    """What the lab is doing."""
    return of_pods.read(layout, found) if found.server is not None else status.read(layout, found)
