"""`weft node`: the node agent's process. Builds and wires, decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path

import click
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from agent import admin, handover, kube, logs, metrics, wire
from agent.api.mesh_config.name import config_map_name
from agent.apiserver.origin import opened
from agent.errors import KernelError, first_error
from agent.model import NodeName
from agent.node import cgroups, cni_config, cni_socket, layout, listing, removal
from agent.node.cni_install import Folders, Installation, Report
from agent.node.cni_socket import CniSocket
from agent.node.departure import Departure
from agent.node.enrolment import Enrolments
from agent.node.inventory import Inventory
from agent.node.kubelet_search import Place
from agent.node.kubelets import Kubelets
from agent.node.proxies import Proxies
from agent.node.redirect import Redirection
from agent.node.settings import Settings
from agent.node.starts import Starts
from agent.node.steps import Steps
from agent.node.watch import Watch

logger = logging.getLogger(__name__)

ProxyCgroup = Callable[[int, Collection[str]], Path]  # of a process, by the UIDs of the pods in the mesh


@click.command()
@click.option("--remove", is_flag=True, help="Return the node's pods to plain networking, remove all from the kernel.")
def node(remove: bool) -> None:
    """Run the node agent.

    It redirects the traffic of this node's pods and hands them to the node proxy.
    """
    settings = Settings.parse(os.environ)
    logs.set_up(settings.log_format, settings.log_level)
    mount = cgroups.find_mount(settings.cgroup_root)
    root = mount.below(settings.cgroup_root)
    if remove:
        asyncio.run(_remove(settings, root))
        return
    directory = _load(settings.pin_directory)
    asyncio.run(_run(settings, directory, root, lambda pid, enrolled: cgroups.proxy_cgroup(pid, mount, root, enrolled)))


def _load(pin_directory: Path) -> Path:
    """Load the programs in a process of its own; the directory of this layout's pins."""
    others = [path for path in pin_directory.glob("v*") if path.name != layout.VERSION]
    if others:
        raise KernelError(f"{others[0]} was left by another version; remove it first (weft node --remove)")
    directory = pin_directory / layout.VERSION
    command = [sys.executable, "-m", "agent.node.loader", str(directory)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise KernelError("the BPF programs cannot be loaded; the loader's words are above")
    return directory


async def _run(settings: Settings, directory: Path, root: Path, proxy_cgroup: ProxyCgroup) -> None:
    """Until SIGTERM or SIGINT. All that is enrolled stays so, unless it is the end of the whole DaemonSet."""
    departure = Departure(settings.daemon_set) if settings.daemon_set else None
    agent = asyncio.ensure_future(_serve(settings, directory, root, proxy_cgroup, departure))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, agent.cancel)
    with contextlib.suppress(asyncio.CancelledError), first_error():
        await agent
    if departure is not None:
        async with _cluster(settings) as cluster:
            is_final = await departure.is_final_now(cluster)
        if is_final:
            logger.info("the DaemonSet has been deleted, the node is cleaned")
            await _remove(settings, root)


async def _serve(
    settings: Settings, directory: Path, root: Path, proxy_cgroup: ProxyCgroup, departure: Departure | None
) -> None:
    ready = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(_cluster(settings))
        kernel = stack.enter_context(contextlib.closing(Redirection(directory)))
        kernel.attach(root)
        registry = CollectorRegistry()
        measures = metrics.NodeMetrics(registry)
        registry.register(metrics.RedirectionCollector(kernel.counts))
        installation = _installation(settings, measures)
        place = Place(cgroups.find_mount(settings.cgroup_root), root)
        kubelets = Kubelets(kernel, place, settings.kubelet_cgroups, measures.kubelet_cgroups)
        routes = [
            *_metrics(registry),
            *_cni(installation),
            *_kubelets(kubelets),
            *_pods(ready, lambda: _pod_rows(watch, settings.node, enrolments)),
        ]
        for pages, port in ((_health(ready), wire.NODE_HEALTH_PORT), (routes, wire.DEBUG_PORT)):
            await stack.enter_async_context(
                admin.serving(pages, host=None, port=port, dropped=measures.dropped_callers.inc)
            )
        proxies = Proxies(kernel, lambda pid: proxy_cgroup(pid, enrolments.uids), measures)
        steps = Steps(
            kernel,
            proxies,
            cluster,
            root,
            announce_seconds=settings.announce_seconds,
            drain_seconds=settings.drain_seconds,
        )
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(kubelets.follow())
        if departure is not None:
            group.create_task(departure.follow(cluster))
        enrolments = Enrolments(kernel, steps, group, measures)

        async def begin(inventory: Inventory) -> None:
            # Proxies are let in once what was enrolled is known: their snapshot must be whole.
            proxies.adopt(await enrolments.adopt(inventory.living(settings.node)))
            group.create_task(proxies.serve(handover.listen(settings.hand_over_socket)))
            if settings.cni_socket is not None:
                starts = Starts(settings.node, watch, enrolments)
                group.create_task(CniSocket(starts.answer, measures).serve(cni_socket.listen(settings.cni_socket)))
            if installation is not None:
                group.create_task(installation.keep())
            ready.set()

        watch = Watch(cluster, settings.node, enrolments, begin, settings.rules)
        await watch.follow()


def _installation(settings: Settings, measures: metrics.NodeMetrics) -> Installation | None:
    """The CNI plugin on this node, None when it is not for the agent to install."""
    configurations, programs, socket = settings.cni_net_directory, settings.cni_bin_directory, settings.cni_socket
    if configurations is None or programs is None or socket is None:
        return None
    folders = Folders(configurations, programs, settings.cni_program, settings.cni_file, settings.is_cni_chained)
    return Installation(folders, cni_config.entry(str(socket), settings.excluded), measures)


def _cni(installation: Installation | None) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        report = installation.report if installation is not None else Report()
        return web.json_response(asdict(report))

    return admin.only_local([web.get("/debug/cni", show)])


def _kubelets(kubelets: Kubelets) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        return web.json_response(asdict(kubelets.report))

    return admin.only_local([web.get("/debug/kubelet", show)])


async def _remove(settings: Settings, root: Path) -> None:
    # First, so that no pod that is about to start waits for an agent that does not come back.
    if (installation := _installation(settings, metrics.NodeMetrics(CollectorRegistry()))) is not None:
        installation.remove()
    async with _cluster(settings) as cluster:
        await removal.remove_everything(settings.pin_directory, root, cluster)
    for path in (settings.hand_over_socket, settings.cni_socket):
        if path is not None:
            path.unlink(missing_ok=True)


def _cluster(settings: Settings) -> contextlib.AbstractAsyncContextManager[kube.Cluster]:
    """Of all the cluster's pods an agent needs, and is told, those of its node; of its ConfigMaps the mesh's."""
    mesh = f"metadata.name={config_map_name(settings.revision)}"
    return opened(settings.origin, {kube.POD: f"spec.nodeName={settings.node}", kube.SYSTEM_CONFIG_MAP: mesh})


def _health(ready: asyncio.Event) -> list[web.RouteDef]:
    async def is_alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        if ready.is_set():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="the cluster's pods are not known yet\n")

    return [web.get("/healthz", is_alive), web.get("/readyz", is_ready)]


def _metrics(registry: CollectorRegistry) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/metrics", show)]


def _pods(ready: asyncio.Event, rows: Callable[[], list[listing.Json]]) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        if not ready.is_set():
            raise web.HTTPServiceUnavailable(text="the cluster's pods are not known yet\n")
        return web.json_response(rows())

    return admin.only_local([web.get("/debug/pods", show)])


def _pod_rows(watch: Watch, node: NodeName, enrolments: Enrolments) -> list[listing.Json]:
    return listing.pod_rows(watch.inventory, node, enrolments.standings, enrolments.left, watch.rules)


if __name__ == "__main__":
    node()
