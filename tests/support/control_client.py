"""A node proxy as a controller knows it: the shipped clients of discovery and certificates, over an engine of paper."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from agent.metrics import ProxyMetrics
from agent.proto import authorization_pb2, workload_pb2
from agent.proxy.authority import GrpcAuthority
from agent.proxy.certificates import signing_request
from agent.proxy.discovery import Discovery, connected
from agent.proxy.ledger import Node
from agent.proxy.settings import Server
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE, DEFAULT_CLUSTER, DISCOVERY_HOST

PATIENCE_SECONDS = 30.0


class Paper:
    """An engine that holds what it is told; `removals` are all names that it has had to forget."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, bytes]] = {ADDRESS_TYPE: {}, AUTHORIZATION_TYPE: {}}
        self.removals: list[str] = []
        self.updates = 0
        self.changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def apply(
        self, type_url: str, changed: Sequence[tuple[str, bytes]], removed: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Called from another thread, as the engine is."""
        for name in removed:
            self.held[type_url].pop(name, None)
        self.removals += removed
        self.held[type_url].update(changed)
        self.updates += 1
        self._loop.call_soon_threadsafe(self.changed.set)
        return []


class ControlClient:
    """Of one node; `port` of 127.0.0.1 leads to a controller, or to one of several."""

    def __init__(self, folder: Path, port: int, roots: bytes, token: str) -> None:
        self.engine = Paper()
        self.registry = CollectorRegistry()
        (folder / "root-cert.pem").write_bytes(roots)
        (folder / "token").write_text(token)
        server = Server(f"127.0.0.1:{port}", DISCOVERY_HOST, folder / "root-cert.pem")
        self._authority = GrpcAuthority(server, folder / "token", DEFAULT_CLUSTER)
        self.discovery = Discovery(
            self.engine,
            functools.partial(connected, server, folder / "token", DEFAULT_CLUSTER),
            Node("weft-proxy-1", "istio-system", "192.0.2.1", "node-1", DEFAULT_CLUSTER, "test"),
            ProxyMetrics(self.registry, "test"),
            lambda: None,
        )

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.discovery.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def sign(self, identity: str) -> list[str]:
        """A certificate, asked for once; it fails as the shipped client does."""
        key = ec.generate_private_key(ec.SECP256R1())
        return await self._authority.sign(identity, signing_request(identity, key), 3600)

    async def until(self, what: str, is_so: Callable[[ControlClient], bool]) -> None:
        """Wait until something is so of what the engine holds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not is_so(self):
                    self.engine.changed.clear()
                    await self.engine.changed.wait()
                return
        raise AssertionError(f"{what}: held are {sorted(map(sorted, self.engine.held.values()))}")

    async def until_stream_is(self, *, open_: bool) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.discovery.is_connected is not open_:  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.01)

    def workload(self, namespace: str, name: str) -> workload_pb2.Workload | None:
        found = self.engine.held[ADDRESS_TYPE].get(f"{DEFAULT_CLUSTER}//Pod/{namespace}/{name}")
        return None if found is None else workload_pb2.Address.FromString(found).workload

    def policy(self, namespace: str, name: str) -> authorization_pb2.Authorization | None:
        found = self.engine.held[AUTHORIZATION_TYPE].get(f"{namespace}/{name}")
        return None if found is None else authorization_pb2.Authorization.FromString(found)

    def removals(self, namespace: str) -> list[str]:
        """What of a namespace it has had to forget."""
        return [name for name in self.engine.removals if f"/{namespace}/" in name]

    def ended_streams(self) -> float:
        reasons = ("Complete", "Error", "ConnectionError")
        name = "istio_xds_connection_terminations_total"
        return sum(self.registry.get_sample_value(name, {"reason": each}) or 0.0 for each in reasons)
