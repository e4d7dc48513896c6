"""Serving a lab: built, run until a signal ends it, and removed, whichever cluster it is for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from agent import logs
from agent.errors import NotFoundError
from agent.lab import processes, record
from agent.lab.addresses import node_plans
from agent.lab.cni import Chain
from agent.lab.files import ManifestFiles
from agent.lab.layout import Layout

logger = logging.getLogger(__name__)

SUPERVISOR = "supervisor"


class Lab(Protocol):
    async def run(self) -> None:
        """Serve until cancelled."""


# Imported on use: `exec` and `status` must not wait for netlink and cryptography to load.


def of_its_own(
    layout: Layout, node_count: int, settings: tuple[str, ...], paths: tuple[Path, ...], undo: ExitStack
) -> Lab:
    from agent.lab.ground import build, claim
    from agent.lab.supervisor import Supervisor

    nodes = node_plans(node_count)
    files = ManifestFiles(paths)
    ledger = claim(layout, nodes)
    undo.callback(lambda: tear_down(layout, ledger.record))
    build(layout, ledger, nodes, {node.name: Chain.below(layout.cni(node.name)) for node in nodes})
    plans = processes.plans(layout, nodes, processes.parse_settings(settings, node_count))
    return Supervisor(layout, ledger, nodes, files, plans)


def of_cluster(layout: Layout, node_count: int, server: record.ApiServer, undo: ExitStack) -> Lab:
    from agent.lab.ground import build, claim
    from agent.lab.kubernetes.supervisor import Supervisor, chains

    nodes = node_plans(node_count)
    ledger = claim(layout, nodes, server)
    undo.callback(lambda: tear_down(layout, ledger.record))
    on_nodes = chains(layout, nodes)
    build(layout, ledger, nodes, on_nodes)
    return Supervisor(layout, ledger, nodes, on_nodes, Path(server.kubeconfig))


def tear_down(layout: Layout, found: record.Record) -> None:
    """Remove the lab; of its nodes in a cluster only what can be reached, and the rest is told."""
    if found.server is not None:
        from agent.lab import network
        from agent.lab.kubernetes.supervisor import leave

        asyncio.run(leave(Path(found.server.kubeconfig), found.nodes, layout.name))
        with contextlib.suppress(NotFoundError):
            network.leave(found.server.netns)
    record.tear_down(layout, found)


def serve(layout: Layout, build: Callable[[ExitStack], Lab], quiet: bool) -> None:
    """Build a lab and serve it. It is removed at the end, but for one that has failed and whose log is in it."""
    logs.set_up()
    with ExitStack() as undo:
        lab = build(undo)
        if quiet:
            _log_to(layout.log(SUPERVISOR))
        try:
            asyncio.run(_until_told(lab))
        except BaseException:
            if quiet:
                logger.exception("the supervisor has failed; the lab stays as it is until `weft lab down`")
                undo.pop_all()
            raise


async def _until_told(lab: Lab) -> None:
    running = asyncio.ensure_future(lab.run())
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
