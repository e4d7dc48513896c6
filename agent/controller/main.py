"""`weft controller`: reads the cluster, tells the proxies, signs their certificates."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from typing import Final, TypeVar

import click
from prometheus_client import CollectorRegistry

from agent import admin, kube, logs, wire
from agent.apiserver.origin import Origin, opened
from agent.controller import registration, server, surroundings, webhook
from agent.controller.addresses import Addresses
from agent.controller.authority.in_force import InForce
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState, Touched
from agent.controller.dashboard.pages import Pages
from agent.controller.debug import Endpoints
from agent.controller.discovery import Discovery
from agent.controller.entries.statuses import EntryStatuses
from agent.controller.following import Following
from agent.controller.settings import Settings
from agent.controller.status import Statuses
from agent.errors import first_error
from agent.metrics import ControllerMetrics

logger = logging.getLogger(__name__)

# How many new objects there may be before the collector looks at them. A page of a list is 150,000, of which none is
# garbage to it: with Python's own 700 most of the time that reading takes is its.
COLLECTIONS: Final = (50_000, 20, 100)
T = TypeVar("T")


@click.command()
def controller() -> None:
    """Run the controller."""
    settings = Settings.parse(os.environ)
    logs.set_up(settings.log_format, settings.log_level)
    gc.set_threshold(*COLLECTIONS)
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    with _stop_signals() as stop, first_error():
        async with opened(settings.origin, surroundings.only(settings)) as cluster:
            around = await _unless(stop, surroundings.find(settings, cluster))
            if around is not None:
                await _serve(settings, cluster, around, stop)
    logger.info("controller stopped")


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """What the work gives, None if it has to stop before: it may have to wait long for an API server."""
    async with asyncio.TaskGroup() as group:
        tasks = working, stopping = group.create_task(work), group.create_task(_wait(stop))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        working.cancel()
    return None if working.cancelled() else working.result()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _serve(
    settings: Settings, cluster: kube.Cluster, around: surroundings.Surroundings, stop: asyncio.Event
) -> None:
    registry = CollectorRegistry()
    metrics = ControllerMetrics(registry)
    _show_authority(metrics, around)
    discovery = Discovery(metrics, settings.send_timeout)
    state = ClusterState(settings.origin.state_directory, around.mesh)
    statuses = Statuses(cluster, state, server.utc_now)
    authorizations = Authorizations(state, discovery.publish)
    trust_domain = around.mesh.trust_domain
    addresses = Addresses(state, discovery.publish, cluster=settings.cluster, trust_domain=trust_domain)
    entry_statuses = EntryStatuses(cluster, state, addresses.shortfalls, server.utc_now)

    def publish(touched: Touched) -> None:
        authorizations.update(touched)
        addresses.update(touched)
        statuses.update(touched.policies)
        entry_statuses.update(touched.entries)

    def complete() -> None:
        discovery.complete()
        # What has been read stays. The collector would go through it again and again, while every proxy waits.
        gc.collect()
        gc.freeze()

    following = Following(state, publish, complete)
    services = server.Services(
        in_force=around.in_force,
        state=state,
        discovery=discovery,
        callers=around.callers,
        trusted=settings.trusted_accounts,
        trust_domain=trust_domain,
        default_ttl=settings.default_ttl,
        longest_ttl=settings.longest_ttl,
        metrics=metrics,
    )
    credentials = server.ServerCertificate(around.in_force).credentials()
    endpoints = Endpoints(state, addresses, authorizations, discovery, metrics, registry, around.problems)
    pages = Pages(state, authorizations, discovery, endpoints.problems, trust_domain)
    routes = [*endpoints.routes(), *pages.routes()]
    writers = (statuses.run, entry_statuses.run, *around.writers)
    async with (
        admin.serving(routes, host=None, port=wire.DEBUG_PORT, dropped=metrics.dropped_callers.inc),
        server.serving(services, credentials, wire.DISCOVERY_PORT, settings.connection_age),
        webhook.serving(webhook.Webhook(metrics), server.ServerCertificate(around.in_force), wire.WEBHOOK_PORT),
        asyncio.TaskGroup() as tasks,
    ):
        changes = cluster.watch(around.watched)
        endless = [
            tasks.create_task(following.follow(changes)),
            tasks.create_task(around.leadership.run(lambda: _all(writers))),
            tasks.create_task(_register(settings, around.in_force)),
            *(tasks.create_task(_done(work)) for work in around.followers),
        ]
        logger.info("controller started", extra={"cluster": settings.origin})
        await stop.wait()
        for task in endless:
            task.cancel()
        discovery.close()


def _show_authority(metrics: ControllerMetrics, around: surroundings.Surroundings) -> None:
    """As it is whenever somebody scrapes."""
    found = around.in_force
    metrics.root_expiry.set_function(lambda: found.authority.root.not_valid_after_utc.timestamp())
    metrics.chain_expiry.set_function(lambda: found.authority.expires.timestamp())
    metrics.trusted_roots.set_function(lambda: 1 + len(found.authority.other_roots))
    metrics.authority_problems.set_function(lambda: len(around.problems()))


async def _all(works: Collection[Callable[[], Awaitable[None]]]) -> None:
    """Do all of them; none ends by itself."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(_done(work))


async def _done(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _register(settings: Settings, in_force: InForce) -> None:
    """Beside a state directory: keep the webhook registered, for ever, if there is an API server for it."""
    if settings.kubeconfig is None or settings.origin.is_kubernetes:
        return
    async with opened(Origin(kubeconfig=settings.kubeconfig)) as cluster:
        wanted = registration.wanted(in_force.authority.root_pem, settings.webhook_failure_policy)
        await registration.keep(cluster, wanted)


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
