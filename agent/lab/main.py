"""`weft lab`: a cluster on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

import agent
from agent import logs
from agent.errors import ConflictError, NotFoundError, UnavailableError
from agent.lab import cgroups, processes, readiness, record, status
from agent.lab.addresses import MOST_NODES, node_plans
from agent.lab.files import ManifestFiles
from agent.lab.layout import Layout
from agent.lab.prerequisites import check

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from agent.lab.supervisor import Supervisor

_SUPERVISOR = "supervisor"
_DOWN_SECONDS = 10.0

_name = click.option("--name", default="lab", show_default=True, help="Which lab; several can be up at a time.")


@click.group()
def lab() -> None:
    """Run a cluster on one machine.

    Nodes and pods are network namespaces, the mesh's processes are the real ones.
    """


@lab.command()
@_name
@click.option(
    "-d", "--detach", is_flag=True, help="Return once processes and pods are ready and enrolled pods captured."
)
@click.option("--background", is_flag=True, hidden=True, help="Log to the lab's folder, once it is there.")
@click.option("--nodes", type=click.IntRange(1, MOST_NODES), default=2, show_default=True)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="With -d: seconds to wait.")
@click.option("--env", "settings", multiple=True, metavar="PROCESS:NAME=VALUE", help="A setting of a mesh process.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def up(
    name: str,
    detach: bool,
    background: bool,
    nodes: int,
    timeout: float,
    settings: tuple[str, ...],
    paths: tuple[Path, ...],
) -> None:
    """Bring up a lab that runs the manifests in PATHS (files or folders), and follows them as they change."""
    check(os.geteuid(), shutil.which)
    layout = _layout(name)
    processes.parse_settings(settings, nodes)
    ManifestFiles(paths)
    if detach:
        options = ["--name", name, "--nodes", str(nodes), *(part for text in settings for part in ("--env", text))]
        _start_detached(layout, [*options, "--", *(str(path.absolute()) for path in paths)], timeout)
    else:
        _serve(layout, nodes, settings, paths, background)


@lab.command()
@_name
def down(name: str) -> None:
    """Remove a lab, all of it, also one whose supervisor has crashed."""
    check(os.geteuid(), shutil.which)
    layout = _layout(name)
    try:
        found = record.read(layout.record)
    except NotFoundError:
        with contextlib.suppress(OSError):  # `up` had not come further than this
            layout.root.rmdir()
        return
    found.supervisor.signal(signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while found.supervisor.is_running and time.monotonic() < deadline:
        time.sleep(0.01)
    found.supervisor.signal(signal.SIGKILL)
    with contextlib.suppress(NotFoundError):  # the supervisor has done it
        record.tear_down(layout, record.read(layout.record))


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@_name
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_in_pod(name: str, pod: str, command: tuple[str, ...]) -> None:
    """Run a command in a pod (NAMESPACE/NAME); its exit status is this command's."""
    layout = _layout(name)
    record.read(layout.record)
    line, environment = status.way_into(layout, pod, command)
    environment |= {"TERM": terminal} if (terminal := os.environ.get("TERM")) else {}
    os.execvpe(line[0], line, environment)


@lab.command("status")
@_name
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show_status(name: str, output: str) -> None:
    """Show nodes, processes, pods and problems."""
    layout = _layout(name)
    found = status.read(layout, record.read(layout.record))
    if output == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        Console().print(found.as_text(datetime.now(UTC)))


@lab.command("logs")
@_name
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now.")
@click.argument("process", required=False)
def show_logs(name: str, follow: bool, process: str | None) -> None:
    """Print what a process (or a pod: NAMESPACE/NAME) has logged; without a name, what all have."""
    layout = _layout(name)
    record.read(layout.record)
    files = _log_files(layout, process)
    if follow:
        os.execvp("tail", ["tail", "-n", "+1", "-F", *map(str, files)])
    for file in files:
        if len(files) > 1:
            click.echo(f"==> {file.relative_to(layout.logs).with_suffix('')} <==")
        click.echo(file.read_text(errors="replace"), nl=False)


def _layout(name: str) -> Layout:
    return Layout(name, cgroups.find_root(cgroups.MOUNTINFO.read_text()))


def _log_files(layout: Layout, process: str | None) -> list[Path]:
    every = sorted(layout.logs.rglob("*.log"))
    if process is None:
        return every
    wanted = process.replace("/", "_")
    found = [file for file in every if file.stem == wanted or file.stem.startswith(f"{wanted}_")]
    if not found:
        known = ", ".join(file.stem for file in every)
        raise NotFoundError(f"no log of {process!r}; there are: {known}")
    return found


def _serve(layout: Layout, node_count: int, settings: tuple[str, ...], paths: tuple[Path, ...], quiet: bool) -> None:
    # Imported on use: `exec` and `status` must not wait for netlink and cryptography to load.
    from agent.lab.supervisor import Supervisor, build, claim

    logs.set_up()
    nodes = node_plans(node_count)
    files = ManifestFiles(paths)
    ledger = claim(layout, nodes)
    try:
        build(layout, ledger, nodes)
        plans = processes.plans(layout, nodes, processes.parse_settings(settings, node_count))
        supervisor = Supervisor(layout, ledger, nodes, files, plans)
    except BaseException:
        record.tear_down(layout, ledger.record)
        raise
    if quiet:
        _log_to(layout.log(_SUPERVISOR))
    try:
        asyncio.run(_until_told(supervisor))
    except BaseException:
        if quiet:
            logger.exception("the supervisor has failed; the lab stays as it is until `weft lab down`")
        else:
            record.tear_down(layout, ledger.record)
        raise
    record.tear_down(layout, ledger.record)


async def _until_told(supervisor: Supervisor) -> None:
    running = asyncio.ensure_future(supervisor.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _log_to(path: Path) -> None:
    """Send standard output and error to a file, which lets go of whoever started this process."""
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _start_detached(layout: Layout, arguments: list[str], timeout: float) -> None:
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
    while missing := (now := status.read(layout, found)).missing() + readiness.unready(layout, found.nodes):
        if not now.is_supervised:
            raise UnavailableError(
                f"the lab's supervisor has ended, see {layout.log(_SUPERVISOR)}; `weft lab down` cleans up"
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
