"""`weft controller`: reads the cluster, tells the proxies, signs their certificates."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterator
from typing import TypeVar

import click
from prometheus_client import CollectorRegistry

from agent import admin, kube, logs, wire
from agent.apiserver.origin import Origin, opened
from agent.controller import ca, registration, server, surroundings, webhook
from agent.controller.addresses import Addresses
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.dashboard.pages import Pages
from agent.controller.debug import Endpoints
from agent.controller.discovery import Discovery
from agent.controller.settings import Settings
from agent.controller.status import Statuses
from agent.errors import WeftError
from agent.metrics import ControllerMetrics

logger = logging.getLogger(__name__)
T = TypeVar("T")


@click.command()
def controller() -> None:
    """Run the controller."""
    settings = Settings.parse(os.environ)
    logs.set_up(settings.log_format, settings.log_level)
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    with _stop_signals() as stop, _first_error():
        async with opened(settings.origin, surroundings.ONLY) as cluster:
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
    metrics.root_expiry.set(around.authority.expires.timestamp())
    discovery = Discovery(metrics)
    state = ClusterState(settings.origin.state_directory)
    statuses = Statuses(cluster, state, server.utc_now)
    authorizations = Authorizations(state, discovery.publish)
    addresses = Addresses(state, discovery.publish, cluster=settings.cluster, trust_domain=settings.trust_domain)
    services = server.Services(
        authority=around.authority,
        state=state,
        discovery=discovery,
        callers=around.callers,
        trusted=settings.trusted_accounts,
        trust_domain=settings.trust_domain,
        default_ttl=settings.default_ttl,
        longest_ttl=settings.longest_ttl,
        metrics=metrics,
    )
    credentials = server.ServerCertificate(around.authority).credentials()
    endpoints = Endpoints(state, addresses, authorizations, discovery, metrics, registry)
    pages = Pages(state, authorizations, discovery, endpoints.problems, settings.trust_domain)
    routes = [*endpoints.routes(), *pages.routes()]
    writers = (statuses.run, *around.writers)
    async with (
        admin.serving(routes, host=None, port=wire.DEBUG_PORT, dropped=metrics.dropped_callers.inc),
        server.serving(services, credentials, wire.DISCOVERY_PORT),
        webhook.serving(webhook.Webhook(metrics), server.ServerCertificate(around.authority), wire.WEBHOOK_PORT),
        asyncio.TaskGroup() as tasks,
    ):
        changes = cluster.watch(around.watched)
        endless = [
            tasks.create_task(_follow(changes, state, authorizations, addresses, statuses, discovery)),
            tasks.create_task(around.leadership.run(lambda: _all(writers))),
            tasks.create_task(_register(settings, around.authority)),
        ]
        logger.info("controller started", extra={"cluster": settings.origin})
        await stop.wait()
        for task in endless:
            task.cancel()
        discovery.close()


async def _all(works: Collection[Callable[[], Awaitable[None]]]) -> None:
    """Do all of them; none ends by itself."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(_done(work))


async def _done(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _follow(
    changes: AsyncGenerator[kube.Change, None],
    state: ClusterState,
    authorizations: Authorizations,
    addresses: Addresses,
    statuses: Statuses,
    discovery: Discovery,
) -> None:
    """Take in every change of the cluster, for ever."""
    async with contextlib.aclosing(changes):
        async for change in changes:
            touched = state.apply(change)
            authorizations.update(touched)
            addresses.update(touched)
            statuses.update(touched.policies)
            if change.type is kube.ChangeType.SYNCED:
                discovery.complete()
                logger.info("cluster read", extra={"pods": len(state.candidates), "services": len(state.services)})


async def _register(settings: Settings, authority: ca.Authority) -> None:
    """Beside a state directory: keep the webhook registered, for ever, if there is an API server for it."""
    if settings.kubeconfig is None or settings.origin.is_kubernetes:
        return
    async with opened(Origin(kubeconfig=settings.kubeconfig)) as cluster:
        await registration.keep(cluster, registration.wanted(authority.root_pem, settings.webhook_failure_policy))


@contextlib.contextmanager
def _first_error() -> Iterator[None]:
    """A task group wraps what ends it; the operator needs the reason itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split(WeftError)
        if ours is None or others is not None:
            raise
        reason: BaseException = ours
        while isinstance(reason, BaseExceptionGroup):  # groups within groups
            reason = reason.exceptions[0]
        raise reason from group


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
