"""`weft controller`: reads the cluster, tells the proxies, signs their certificates."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator

import click
from prometheus_client import CollectorRegistry

from agent import admin, kube, logs, wire
from agent.apiserver.cluster import api_server
from agent.controller import auth, ca, registration, server, webhook
from agent.controller.addresses import Addresses
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import WATCHED, ClusterState
from agent.controller.dashboard.pages import Pages
from agent.controller.debug import Endpoints
from agent.controller.discovery import Discovery
from agent.controller.settings import Settings
from agent.controller.status import Statuses
from agent.errors import WeftError
from agent.metrics import ControllerMetrics

logger = logging.getLogger(__name__)


@click.command()
def controller() -> None:
    """Run the controller: discovery, certificates, debug endpoints."""
    settings = Settings.parse(os.environ)
    logs.set_up(settings.log_format, settings.log_level)
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    authority = ca.load_or_create(settings.ca_directory, server.utc_now())
    registry = CollectorRegistry()
    metrics = ControllerMetrics(registry)
    metrics.root_expiry.set(authority.root.not_valid_after_utc.timestamp())
    discovery = Discovery(metrics)
    cluster = kube.StateDirectory(settings.state_directory)
    state = ClusterState(str(settings.state_directory))
    statuses = Statuses(cluster, state, server.utc_now)
    authorizations = Authorizations(state, discovery.publish)
    addresses = Addresses(state, discovery.publish, cluster=settings.cluster, trust_domain=settings.trust_domain)
    services = server.Services(
        authority=authority,
        state=state,
        discovery=discovery,
        keys=auth.KeyFile(settings.token_keys),
        trusted=settings.trusted_accounts,
        trust_domain=settings.trust_domain,
        default_ttl=settings.default_ttl,
        longest_ttl=settings.longest_ttl,
        metrics=metrics,
    )
    credentials = server.ServerCertificate(authority).credentials()
    endpoints = Endpoints(state, addresses, authorizations, discovery, metrics, registry)
    pages = Pages(state, authorizations, discovery, endpoints.problems, settings.trust_domain)
    routes = [*endpoints.routes(), *pages.routes()]
    with _stop_signals() as stop, _first_error():
        async with (
            admin.serving(routes, host=None, port=wire.DEBUG_PORT, dropped=metrics.dropped_callers.inc),
            server.serving(services, credentials, wire.DISCOVERY_PORT),
            webhook.serving(webhook.Webhook(metrics), server.ServerCertificate(authority), wire.WEBHOOK_PORT),
            asyncio.TaskGroup() as tasks,
        ):
            endless = [
                tasks.create_task(_follow(cluster, state, authorizations, addresses, statuses, discovery)),
                tasks.create_task(statuses.run()),
                tasks.create_task(_register(settings, authority)),
            ]
            logger.info("controller started", extra={"state": settings.state_directory})
            await stop.wait()
            for task in endless:
                task.cancel()
            discovery.close()
    logger.info("controller stopped")


async def _follow(
    cluster: kube.Cluster,
    state: ClusterState,
    authorizations: Authorizations,
    addresses: Addresses,
    statuses: Statuses,
    discovery: Discovery,
) -> None:
    """Take in every change of the cluster, for ever."""
    async with contextlib.aclosing(cluster.watch(WATCHED)) as changes:
        async for change in changes:
            touched = state.apply(change)
            authorizations.update(touched)
            addresses.update(touched)
            statuses.update(touched.policies)
            if change.type is kube.ChangeType.SYNCED:
                discovery.complete()
                logger.info("cluster read", extra={"pods": len(state.candidates), "services": len(state.services)})


async def _register(settings: Settings, authority: ca.Authority) -> None:
    """Keep the webhook registered, for ever, if there is an API server to register it with."""
    if settings.kubeconfig is None:
        return
    async with api_server(settings.kubeconfig) as cluster:
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
        raise ours.exceptions[0] from group


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
