"""`weft proxy`: the node proxy. Wires discovery, certificates and the hand-over to the engine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from importlib import metadata

import click
from prometheus_client import CollectorRegistry, ProcessCollector

from agent import admin, logs
from agent._engine import Engine
from agent.errors import KernelError
from agent.handover import ProxyEnd
from agent.metrics import CertificateCollector, ProxyMetrics, TrafficCollector
from agent.proxy import roots
from agent.proxy.authority import GrpcAuthority
from agent.proxy.backoff import supervise
from agent.proxy.certificates import Certificates
from agent.proxy.discovery import Discovery, connected
from agent.proxy.endpoints import Admin, metrics_routes, readiness_routes
from agent.proxy.ledger import Node
from agent.proxy.pods import Pods
from agent.proxy.readiness import DISCOVERY, HANDOVER, Readiness
from agent.proxy.report import Report
from agent.proxy.saved import SavedState
from agent.proxy.settings import Settings
from agent.wire import ADMIN_PORT, MARK_UPSTREAM, METRICS_PORT, READINESS_PORT

logger = logging.getLogger(__name__)


@click.command()
def proxy() -> None:
    """Carry the traffic of this node's enrolled pods."""
    settings = Settings.parse(os.environ, cores=os.cpu_count() or 1, descriptors=_allow_many_descriptors())
    logs.set_up(settings.log_format, settings.log_level)
    _check_marks()
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    """Serve until SIGTERM, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _engine(settings) as engine:
        await _serve(settings, engine, stop)


async def _serve(settings: Settings, engine: Engine, stop: asyncio.Event) -> None:
    version = metadata.version("weft")
    readiness = Readiness()
    registry = CollectorRegistry()
    metrics = ProxyMetrics(registry, version)
    registry.register(TrafficCollector(engine))
    ProcessCollector(registry=registry)
    certificates = Certificates(
        engine,
        GrpcAuthority(settings.authority, settings.token, settings.cluster),
        settings.certificate_seconds,
    )
    registry.register(CertificateCollector(certificates.expiries))
    discovery = Discovery(
        engine,
        functools.partial(connected, settings.discovery, settings.token, settings.cluster),
        Node(settings.pod, settings.namespace, settings.instance_ip, settings.node, settings.cluster, version),
        metrics,
        functools.partial(readiness.done, DISCOVERY),
        saved=SavedState(settings.saved_state) if settings.saved_state else None,
    )
    pods = Pods(
        engine,
        functools.partial(ProxyEnd.connect, settings.handover),
        certificates,
        functools.partial(readiness.done, HANDOVER),
        trust_domain=settings.trust_domain,
        drain_seconds=settings.drain_seconds,
    )
    follow_roots = functools.partial(roots.follow, settings.authority.root, certificates.renew)
    pages = Admin(engine, certificates.statuses, settings, version, stop.set)
    report = Report(engine, discovery, certificates.statuses, readiness, version, time.time())
    answering = functools.partial(admin.serving, dropped=metrics.dropped_callers.inc)
    async with (
        answering(readiness_routes(readiness), host=None, port=READINESS_PORT),
        answering(metrics_routes(registry), host=None, port=METRICS_PORT),
        answering([*pages.routes(), *report.routes()], host="127.0.0.1", port=ADMIN_PORT),
        asyncio.TaskGroup() as tasks,
    ):
        logger.info("node proxy is up", extra={"version": version, "workers": settings.workers})
        followers = [
            tasks.create_task(supervise("discovery", discovery.run, asyncio.sleep)),
            tasks.create_task(supervise("certificates", certificates.run, asyncio.sleep)),
            tasks.create_task(supervise("roots", follow_roots, asyncio.sleep)),
        ]
        handover = tasks.create_task(supervise("pod hand-over", pods.run, asyncio.sleep))
        await stop.wait()
        # No pod may come any more; discovery and metrics go on until the last connection has ended.
        readiness.begin_drain()
        handover.cancel()
        logger.info("draining", extra={"seconds": settings.drain_seconds})
        await asyncio.to_thread(engine.drain, settings.drain_seconds)
        for task in followers:
            task.cancel()
    logger.info("node proxy has ended")


@contextlib.contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    engine = Engine(
        settings.workers,
        trust_domain=settings.trust_domain,
        cluster=settings.cluster,
        node=settings.node,
        access_log=settings.log_format,
        most_connections=settings.most_connections,
    )
    try:
        yield engine
    finally:
        engine.close()


def _check_marks() -> None:
    """KernelError unless it may mark its connections: without the mark every one of them would be refused."""
    with socket.socket() as unconnected:
        try:
            unconnected.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK_UPSTREAM)
        except PermissionError as exc:
            raise KernelError("connections cannot be marked: not permitted; is CAP_NET_ADMIN missing?") from exc


def _allow_many_descriptors() -> int:
    """Use all that the system grants: every connection takes two, every pod five. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
