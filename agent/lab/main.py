"""`weft lab`: a cluster on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from agent.errors import ConfigError, NotFoundError
from agent.lab import cgroups, detached, processes, record, serving, status
from agent.lab.addresses import MOST_NODES, node_plans
from agent.lab.files import ManifestFiles
from agent.lab.kubernetes import status as of_pods
from agent.lab.layout import Layout, netns_path
from agent.lab.prerequisites import CONTAINER_PROGRAMS, PROGRAMS, check

logger = logging.getLogger(__name__)

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
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Be the nodes of this cluster, whose API server runs the mesh and all else as pods.",
)
@click.option(
    "--control", metavar="NETNS", help="With --kubeconfig: the network namespace of the API server, at port 6443."
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def up(
    name: str,
    detach: bool,
    background: bool,
    nodes: int,
    timeout: float,
    settings: tuple[str, ...],
    kubeconfig: Path | None,
    control: str | None,
    paths: tuple[Path, ...],
) -> None:
    """Bring up a lab that runs the manifests in PATHS (files or folders), and follows them as they change.

    With --kubeconfig and --control, the lab is the nodes of a cluster that exists: manifests are for `kubectl` then.
    """
    layout = _layout(name)
    options = ["--name", name, "--nodes", str(nodes)]
    if kubeconfig is not None or control is not None:
        server = _api_server(layout, nodes, kubeconfig, control, settings, paths)
        options += ["--kubeconfig", server.kubeconfig, "--control", server.netns]
        lab = partial(serving.of_cluster, layout, nodes, server)
    else:
        check(os.geteuid(), shutil.which)
        processes.parse_settings(settings, nodes)
        ManifestFiles(paths)
        options += [part for text in settings for part in ("--env", text)]
        options += ["--", *(str(path.absolute()) for path in paths)]
        lab = partial(serving.of_its_own, layout, nodes, settings, paths)
    if detach:
        detached.start(layout, options, timeout)
    else:
        serving.serve(layout, lab, background)


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
        serving.tear_down(layout, record.read(layout.record))


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@_name
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_in_pod(name: str, pod: str, command: tuple[str, ...]) -> None:
    """Run a command in a pod (NAMESPACE/NAME); its exit status is this command's."""
    layout = _layout(name)
    found = record.read(layout.record)
    if found.server is not None:
        line, environment = of_pods.way_into(layout, pod, command, has_terminal=sys.stdin.isatty()), dict(os.environ)
    else:
        line, environment = status.way_into(layout, pod, command)
    environment |= {"TERM": terminal} if (terminal := os.environ.get("TERM")) else {}
    os.execvpe(line[0], line, environment)


@lab.command("status")
@_name
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show_status(name: str, output: str) -> None:
    """Show nodes, processes, pods and problems."""
    layout = _layout(name)
    found = detached.read(layout, record.read(layout.record))
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


def _api_server(
    layout: Layout,
    node_count: int,
    kubeconfig: Path | None,
    control: str | None,
    settings: tuple[str, ...],
    paths: tuple[Path, ...],
) -> record.ApiServer:
    """What the options say of an API server, once it is known to take the lab's nodes."""
    if kubeconfig is None or control is None:
        raise click.UsageError("--kubeconfig and --control go together: where the API server is, and its namespace.")
    if settings or paths:
        raise click.UsageError("PATHS and --env are for a lab of its own; apply manifests with `kubectl` here.")
    check(os.geteuid(), shutil.which, {**PROGRAMS, **CONTAINER_PROGRAMS})
    if not netns_path(control).exists():
        raise ConfigError(f"--control {control!r}: no such network namespace; accepted is one that `ip netns` lists")
    from agent.lab import network
    from agent.lab.kubernetes import access

    if not network.is_free(control):
        raise ConfigError(
            f"--control {control!r}: it has an {network.WIRE} already; accepted is one without, for the lab's"
        )
    asyncio.run(access.check(kubeconfig, [node.name for node in node_plans(node_count)], layout.name))
    return record.ApiServer(str(kubeconfig.absolute()), control)
