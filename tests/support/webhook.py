"""The validating webhook, running in this process on a loopback address of its own, and registered as in a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from agent.controller import registration
from agent.controller.authority import ca
from agent.controller.authority.in_force import InForce
from agent.controller.registration import FailurePolicy
from agent.controller.server import ServerCertificate
from agent.controller.webhook import LOOK_SECONDS, Webhook, serving
from agent.metrics import ControllerMetrics
from tests.support.cluster import ControlPlane
from tests.support.cluster_program import free_ports, own_address

START_SECONDS = 10
STOP_SECONDS = 10
POLL_SECONDS = 0.01
OPEN = ("01", "08")  # ESTABLISHED and CLOSE_WAIT: this end has not closed it yet
ISTIOD = {"namespace": "istio-system", "name": "istiod"}


@dataclass(frozen=True)
class Port:
    """Where a webhook answers, or will."""

    address: str
    number: int

    @classmethod
    def free(cls) -> Port:
        address = own_address()
        return cls(address, free_ports(address, 1)[0])


@contextlib.contextmanager
def answering(
    authority: ca.Authority,
    port: Port,
    life: timedelta = timedelta(hours=24),
    look_seconds: float = LOOK_SECONDS,
) -> Iterator[CollectorRegistry]:
    """The webhook, on a thread of its own, while the block runs; its metrics."""
    registry = CollectorRegistry()
    certificate = ServerCertificate(InForce(authority), life)
    loop, stop, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def run() -> None:
        async with serving(Webhook(ControllerMetrics(registry)), certificate, port.number, look_seconds):
            started.set()
            await stop.wait()
        # A TLS connection ends when its other end agrees, which only the kernel's table tells.
        while _holds_connections(port):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(START_SECONDS), "the webhook did not start"
        yield registry
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_SECONDS)
        assert not thread.is_alive(), "the webhook did not end"
        loop.close()


@contextlib.contextmanager
def registered(
    plane: ControlPlane, authority: ca.Authority, port: Port, failure_policy: FailurePolicy = "Fail"
) -> Iterator[None]:
    """The webhook's registration, in force, while the block runs; the Service `istiod` leads to the port."""
    with istiod(plane, port.address):
        wanted = registration.wanted(authority.root_pem, failure_policy)
        wanted["webhooks"][0]["clientConfig"]["service"]["port"] = port.number
        _create(plane, wanted)
        try:
            yield
        finally:
            plane.kubectl("delete", "validatingwebhookconfiguration", registration.NAME)


@contextlib.contextmanager
def istiod(plane: ControlPlane, address: str) -> Iterator[None]:
    """The Service by which an API server finds the controller: here it leads to a loopback address.

    An ExternalName is the one way to have such an address, which no endpoint may have.
    """
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ISTIOD["namespace"]}}
    spec = {"type": "ExternalName", "externalName": address}
    plane.kubectl("apply", "--filename=-", stdin=json.dumps(namespace))
    _create(plane, {"apiVersion": "v1", "kind": "Service", "metadata": ISTIOD, "spec": spec})
    try:
        yield
    finally:
        plane.kubectl("delete", "service", ISTIOD["name"], f"--namespace={ISTIOD['namespace']}")


def _holds_connections(port: Port) -> bool:
    """By the kernel's table, whose addresses are in the machine's byte order."""
    address = int.from_bytes(socket.inet_aton(port.address), sys.byteorder)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == f"{address:08X}:{port.number:04X}" and row[3] in OPEN for row in rows)


def _create(plane: ControlPlane, found: dict[str, Any]) -> None:
    plane.kubectl("create", "--filename=-", stdin=json.dumps(found))
