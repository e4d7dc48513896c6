"""Runs the discovery streams: takes in what is published, wakes the proxies that want it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from typing import Final

from envoy.service.discovery.v3 import discovery_pb2

from agent.controller.auth import Caller
from agent.controller.resources import Catalogue, Resource
from agent.controller.xds import SHOWN_CHARACTERS, TYPES, Session
from agent.errors import ProtocolError, UnavailableError
from agent.logs import LineLimit
from agent.metrics import ControllerMetrics

logger = logging.getLogger(__name__)

Requests = AsyncIterable[discovery_pb2.DeltaDiscoveryRequest]
Write = Callable[[bytes], Awaitable[None]]


# A node proxy has one stream, and for a while two: while another takes its place, or after the
# network broke unseen. Each may hold a copy of all that is published, for as long as its reader is slow.
MOST_STREAMS: Final = 4

# When all proxies come at once each is owed the whole mesh. So many at a time are sent much: responses are made when
# it is their turn, the transport copies what it has not sent yet, and whoever waits for a small change must not wait
# for all of them. A slow reader's turn ends before its response does.
TURNS: Final = 4
TURN_SECONDS: Final = 0.5


class Discovery:
    """Every connected proxy, and what they can ask for. Lives in one event loop."""

    def __init__(
        self,
        metrics: ControllerMetrics,
        send_timeout: timedelta = timedelta(minutes=1),
        answer_timeout: timedelta = timedelta(minutes=5),
        *,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        """send_timeout: for a proxy to read a response; answer_timeout: to say what it thinks of it."""
        self.catalogues = {type_url: Catalogue(type_url) for type_url in TYPES}
        self.sessions: set[Session] = set()
        self._streams: defaultdict[Caller, deque[asyncio.Event]] = defaultdict(deque)  # the oldest first
        self._turns = asyncio.Semaphore(TURNS)
        self._turn_seconds = turn_seconds
        self._metrics = metrics
        self._send_seconds = send_timeout.total_seconds()
        self._answer_seconds = answer_timeout.total_seconds()
        self._is_closed = False
        self._rejections = LineLimit()

    def publish(self, type_url: str, changed: Iterable[Resource], removed: Iterable[str]) -> None:
        """Make new contents known to every proxy that asked for them."""
        changed = list(changed)
        self._metrics.computed.labels(type=type_url).inc(len(changed))
        changes = self.catalogues[type_url].update(changed, removed)
        self._metrics.resources.labels(type=type_url).set(len(self.catalogues[type_url].resources))
        now = time.monotonic()
        for session in self.sessions if changes else ():
            if session.mark(type_url, changes):
                session.changed_at = session.changed_at or now

    def complete(self) -> None:
        """All that exists has been published: proxies may be answered from now on."""
        for catalogue in self.catalogues.values():
            catalogue.is_complete = True
        for session in self.sessions:
            session.wake.set()

    def close(self) -> None:
        """End all streams, and begin no more; the proxies come back to whoever serves next."""
        self._is_closed = True
        for session in self.sessions:
            session.close()

    async def serve(self, caller: Caller, requests: Requests, write: Write, peer: str = "") -> None:
        """One proxy's stream, until either side ends it.

        write: returns when the transport has taken the response; it sets the pace.
        peer: where the stream comes from, in gRPC's words.
        Raises ProtocolError when the proxy asks for what is not served, UnavailableError when its
        caller has opened too many newer ones, when it does not read or answer in time, and after close().
        """
        if self._is_closed:
            raise UnavailableError("this controller is about to end; another one serves")
        session = Session(caller, self.catalogues, peer)
        with self._place(caller) as superseded, self._counted(session):
            works = (self._answer(session, write), self._read(session, requests), self._await_answers(session))
            await _first(*works, superseded.wait())
        if superseded.is_set():
            raise UnavailableError(f"more than {MOST_STREAMS} streams of one caller, and this was the oldest")
        if session.fault is not None:
            raise session.fault

    @contextlib.contextmanager
    def _place(self, caller: Caller) -> Iterator[asyncio.Event]:
        """One of the caller's streams; the event is set when the caller has too many and this is the oldest."""
        superseded = asyncio.Event()
        streams = self._streams[caller]
        if len(streams) >= MOST_STREAMS:
            streams.popleft().set()
            self._metrics.superseded.inc()
        streams.append(superseded)
        try:
            yield superseded
        finally:
            if superseded in streams:
                streams.remove(superseded)
            if not streams and self._streams.get(caller) is streams:
                del self._streams[caller]

    @contextlib.contextmanager
    def _counted(self, session: Session) -> Iterator[None]:
        self.sessions.add(session)
        self._metrics.connected_proxies.set(len(self.sessions))
        try:
            yield
        finally:
            self.sessions.discard(session)
            self._metrics.connected_proxies.set(len(self.sessions))

    async def _answer(self, session: Session, write: Write) -> None:
        while not session.is_closed:
            await session.wake.wait()
            session.wake.clear()
            while not session.is_closed and await (self._in_turn if session.owes_much else self._write)(session, write):
                pass
            if session.is_closed:
                return
            if session.changed_at is not None:
                self._metrics.convergence_seconds.observe(time.monotonic() - session.changed_at)
                session.changed_at = None

    async def _write(self, session: Session, write: Write) -> bool:
        """Whether there was something to say."""
        answer = session.next_response()
        if answer is None:
            return False
        type_url, response = answer
        session.awaited_since.setdefault(type_url, time.monotonic())
        try:
            async with asyncio.timeout(self._send_seconds):
                await write(response)
        except TimeoutError:
            self._drop(session, "stalled", f"it has not read a response for {self._send_seconds:g} s")
            return True
        self._metrics.pushes.labels(type=type_url).inc()
        return True

    async def _in_turn(self, session: Session, write: Write) -> bool:
        async with asyncio.TaskGroup() as group, self._turns:
            writing = group.create_task(self._write(session, write))
            await asyncio.wait([writing], timeout=self._turn_seconds)
        return writing.result()

    async def _read(self, session: Session, requests: Requests) -> None:
        try:
            async for request in requests:
                session.receive(request)
                session.answered(request, time.monotonic())
                if request.HasField("error_detail"):
                    self._report_rejection(session, request)
        except ProtocolError as exc:
            session.close(exc)
        session.close(session.fault)

    async def _await_answers(self, session: Session) -> None:
        """Until the proxy has answered nothing for too long; looked at so rarely that it may be twice as long."""
        while True:
            oldest = min(session.awaited_since.values(), default=math.inf)
            if time.monotonic() >= oldest + self._answer_seconds:
                self._drop(session, "silent", f"it has answered no response for {self._answer_seconds:g} s")
                return
            await asyncio.sleep(self._answer_seconds)

    def _drop(self, session: Session, reason: str, text: str) -> None:
        self._metrics.dropped_streams.labels(reason=reason).inc()
        session.close(UnavailableError(f"the stream of {session.caller.account} on {session.caller.node}: {text}"))

    def _report_rejection(self, session: Session, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self._metrics.rejections.labels(type=request.type_url).inc()
        facts = {
            "node": session.caller.node,
            "proxy": session.id,
            "type": request.type_url,
            "reason": request.error_detail.message[:SHOWN_CHARACTERS],
        }
        if self._rejections.admits():
            extra = {**facts, **self._rejections.unlogged()}
            logger.warning("a proxy rejected part of a response", extra=extra)


async def _first(*works: Coroutine[None, None, object]) -> None:
    """Run them until one has ended; the others are cancelled, wherever they wait: for a slow reader too."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in works]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in tasks:
            each.cancel()
