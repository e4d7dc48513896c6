"""Workload discovery: one stream to the controller that keeps the engine's state.

Everything of both types is asked for. Each response goes to the engine as it came and is
acknowledged, or refused with the engine's reasons. The stream is opened again for ever; while
it is down the engine goes on with what it has. With a saved state the engine has that before
the controller answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from agent.backoff import Jitter, Sleep, delays, jitter
from agent.errors import EngineError, UnavailableError, WeftError
from agent.metrics import ProxyMetrics
from agent.proxy.connection import call_metadata, channel, translated
from agent.proxy.ledger import TYPES, Ledger, Node, Update, answer, subscription, update
from agent.proxy.saved import SavedState
from agent.proxy.settings import Server

logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.01
MOST_DELAY_SECONDS = 15.0
SAVE_DELAY_SECONDS = 2.0  # changes come in bursts; one write takes them all
_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class Engine(Protocol):
    """What discovery needs of the engine."""

    def apply(
        self, type_url: str, changed: Sequence[tuple[str, bytes]], removed: Sequence[str]
    ) -> list[tuple[str, str]]:
        """As agent._engine.Engine.apply."""


class Stream(Protocol):
    """One open discovery stream. Both raise WeftError when it has broken."""

    async def send(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Send one request."""

    async def receive(self) -> discovery_pb2.DeltaDiscoveryResponse | None:
        """The next response; None when the server has ended the stream."""


Connect = Callable[[], AbstractAsyncContextManager[Stream]]


class _GrpcStream:
    def __init__(self, server: Server, call: grpc.aio.StreamStreamCall) -> None:  # type: ignore[type-arg]
        self._server = server
        self._call = call

    async def send(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        with translated(self._server):
            try:
                await self._call.write(request)
            except asyncio.InvalidStateError as exc:  # ended meanwhile; the next read would say so
                raise UnavailableError(f"{self._server.address}: the discovery stream has ended") from exc

    async def receive(self) -> discovery_pb2.DeltaDiscoveryResponse | None:
        with translated(self._server):
            response = await self._call.read()
        return response if isinstance(response, discovery_pb2.DeltaDiscoveryResponse) else None  # else: end of stream


@contextlib.asynccontextmanager
async def connected(server: Server, token: Path, cluster: str) -> AsyncIterator[Stream]:
    """A stream to the controller, with the token and root of this moment."""
    metadata = call_metadata(token, cluster)
    async with channel(server) as opened:
        method = opened.stream_stream(
            _METHOD,
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        call = method(metadata=metadata)  # type: ignore[call-arg]  # the stubs know only the form with an iterator
        try:
            yield _GrpcStream(server, call)
        finally:
            call.cancel()


class Discovery:
    """Owns the ledger. `on_complete` is called once, when every type is in force."""

    def __init__(
        self,
        engine: Engine,
        connect: Connect,
        node: Node,
        metrics: ProxyMetrics,
        on_complete: Callable[[], None],
        *,
        saved: SavedState | None = None,
        sleep: Sleep = asyncio.sleep,
        factor: Jitter = jitter,
    ) -> None:
        self._engine = engine
        self._connect = connect
        self._node = node
        self._metrics = metrics
        self._on_complete = on_complete
        self._saved = saved
        self._sleep = sleep
        self._factor = factor
        self._ledger = Ledger(keeps_values=saved is not None)
        self._restored = False
        self._changed = asyncio.Event()
        self.is_connected = False  # a stream is open on which the controller has answered

    def versions(self, type_url: str) -> dict[str, str]:
        """The resources in force, by name."""
        return self._ledger.versions(type_url)

    async def run(self) -> None:
        """Load the saved state, then follow the controller, for ever."""
        if not self._restored:
            await self._restore()
            self._restored = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            if self._saved is not None:
                tasks.create_task(self._keep_saved(self._saved))

    async def _restore(self) -> None:
        if self._saved is None:
            return
        for found in await asyncio.to_thread(self._saved.load):
            await self._apply(found)
            logger.info("saved state is in force", extra={"type": found.type_url, "resources": len(found.changed)})

    async def _follow(self) -> None:
        pause, last = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor), ""
        while True:
            answered, reason, text = await self._one_stream()
            self._metrics.terminations.labels(reason=reason).inc()
            if answered:
                pause, last = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor), ""
            if text != last:
                logger.warning("discovery stream has ended and is opened again", extra={"reason": text})
                last = text
            await self._sleep(next(pause))

    async def _one_stream(self) -> tuple[bool, str, str]:
        """Follow one stream to its end: whether it brought anything, and why it ended, as a word and as text."""
        answered = False
        try:
            async with self._connect() as stream:
                for type_url in TYPES:
                    await stream.send(subscription(type_url, self._node, self._ledger.versions(type_url)))
                while (response := await stream.receive()) is not None:
                    if not answered:
                        logger.info("discovery stream is open")
                    answered = self.is_connected = True
                    await self._handle(stream, response)
            return answered, "Complete", "the controller has ended it"
        except WeftError as exc:
            return answered, "Error" if answered else "ConnectionError", str(exc)
        finally:
            self.is_connected = False

    async def _handle(self, stream: Stream, response: discovery_pb2.DeltaDiscoveryResponse) -> None:
        self._metrics.messages.labels(url=response.type_url).inc()
        self._metrics.message_bytes.labels(url=response.type_url).inc(response.ByteSize())
        received = update(response)
        if received.type_url in TYPES:
            rejected = await self._apply(received)
            if self._ledger.is_complete:
                self._changed.set()
        else:
            rejected = [(received.type_url, "was not asked for")]
        if rejected:
            logger.error("resources are refused", extra={"type": received.type_url, "reasons": rejected})
        await stream.send(answer(received, rejected))

    async def _apply(self, received: Update) -> list[tuple[str, str]]:
        """Bring an update into force; the refusals."""
        was_complete = self._ledger.is_complete
        changed = [(resource.name, resource.value) for resource in received.changed]
        try:
            refused = await asyncio.to_thread(self._engine.apply, received.type_url, changed, received.removed)
        except EngineError as exc:  # nothing of it is in force
            return [(received.type_url, str(exc))]
        rejected = [*received.mistakes, *refused]
        self._ledger.record(received, dict(rejected))
        if self._ledger.is_complete and not was_complete:
            self._on_complete()
        return rejected

    async def _keep_saved(self, saved: SavedState) -> None:
        failing = False
        while True:
            await self._changed.wait()
            await self._sleep(SAVE_DELAY_SECONDS)
            self._changed.clear()
            # Of one moment: what came between the types would be a state that the controller never sent.
            resources = {type_url: self._ledger.resources(type_url) for type_url in TYPES}
            try:
                await asyncio.to_thread(saved.save, resources)
                failing = False
            except UnavailableError as exc:
                if not failing:
                    logger.error("state is not saved", extra={"reason": exc})
                failing = True
                self._changed.set()
