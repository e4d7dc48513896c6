"""`python -m bench.scale`: a node full of pods; then a controller, a large cluster and many node proxies.

A real API server with its etcd and controller manager holds the cluster; the controller is the shipped one with the
shipped permissions; the proxies are gRPC clients in processes of their own. Everything is on one machine, in one
network namespace, so what the API server and the proxies take is taken from the controller. BENCH_SCALE makes
everything smaller by that factor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyroute2 import netns
from rich.console import Console
from rich.table import Table

from agent.lab import namespaces
from bench import results
from bench.scale import api, controllers, crowded_node, crowds, node_agent, objects, processes
from bench.scale.measures import Measures, Row
from bench.scale.objects import Size
from tests.support.cluster import ControlPlane, control_plane
from tests.support.cluster_mesh import forget_webhook, installed

PROCESSES: Final = 4  # that the proxies are spread over
SCALE: Final = float(os.environ.get("BENCH_SCALE", "1"))


def size() -> Size:
    whole = Size()
    counts = (whole.pods, whole.services, whole.policies, whole.nodes, whole.namespaces)
    pods, services, policies, nodes, namespaces = (max(1, round(count * SCALE)) for count in counts)
    return Size(pods, services, policies, max(nodes, PROCESSES), namespaces)


async def measure(plane: ControlPlane, wanted: Size) -> list[Row]:
    pids = processes.named(plane.folder)
    async with api.opened(plane) as writer:
        roots = await controllers.roots(plane, writer)
        await asyncio.to_thread(forget_webhook, plane)
        await api.fill(writer, wanted, say)
        tokens = await api.together(map(writer.token, objects.proxies(wanted)))
        async with crowds.started(controllers.TARGET, roots, tokens, PROCESSES) as proxies:
            await proxies.connect()
            await settled(pids)
            async with controllers.running(plane) as controller:
                fresh = reversed(objects.pod_names(wanted))
                return await run(Measures(writer, wanted, controller, proxies, pids, fresh), plane)


async def run(found: Measures, plane: ControlPlane) -> list[Row]:
    """Everything, in the order of the table."""
    rows = []
    steps = (
        found.cold,
        found.single,
        found.burst,
        found.reconnect,
        found.crowded,
        lambda: found.on_demand(PROCESSES),
    )
    for step in steps:
        new = await step()
        say("\n".join(f"{row.workload}: {row.value:.4g} {row.unit}" for row in new))
        rows += new
        await found.quiet()
    memory = processes.memory(found.controller.pid)
    rows += [
        Row("memory of the controller at the end", memory.now, "MiB", 1024),
        Row("memory of the controller at most", memory.peak, "MiB", 1024),
    ]
    return rows + await asyncio.to_thread(node_agent.measure, plane, found.size)


async def settled(pids: dict[str, int]) -> None:
    """Returns once the controller manager has made what follows from the objects."""
    while True:
        before = processes.cpu_seconds(*pids.values())
        await asyncio.sleep(2)
        if processes.cpu_seconds(*pids.values()) - before < 0.4:
            return


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(rows: list[Row]) -> None:
    """Print the table and add to bench/results.json."""
    table = Table(title=f"Scale, load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores", title_justify="left")
    for heading in ("workload", "weft", "unit", "asked", "met"):
        table.add_column(heading, justify="right" if heading in ("weft", "asked") else "left")
    found = []
    for row in rows:
        asked = "" if row.bound is None else f"{row.bound:g}"
        met = {None: "", True: "yes", False: "no"}[row.is_met]
        table.add_row(row.workload, f"{row.value:.4g}", row.unit, asked, met)
        result: results.Result = {
            "workload": f"{results.SCALE}{row.workload}",
            "subject": "weft",
            "median": row.value,
            "unit": row.unit,
        }
        found.append(result if row.bound is None else {**result, "bound": row.bound, "met": row.is_met})
    Console(width=120).print(table)
    results.put(found, is_scale=True)


@contextlib.contextmanager
def namespace_of_our_own() -> Iterator[None]:
    """From here on this process, and all that it starts, is where nobody else has taken a port."""
    name = f"weft-bench-{uuid.uuid4().hex[:8]}"
    namespaces.create(name)
    try:
        netns.setns(name)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
        yield
    finally:
        namespaces.delete(name)


def main() -> None:
    wanted, rows = size(), crowded_node.measure()  # its lab first, in the machine's own network namespace
    with (
        namespace_of_our_own(),
        tempfile.TemporaryDirectory(prefix="weft-bench-") as folder,
        control_plane(Path(folder)) as plane,
        installed(plane),
    ):
        rows = asyncio.run(measure(plane, wanted)) + rows
    report(rows)


if __name__ == "__main__":
    main()
