"""The node proxies that are connected to the hand-over socket, and the pods they are given.

The newest connection gets the additions, every connection the deletions: while one proxy
replaces another, the old one goes on serving what it has. What has been handed over is
remembered, for the snapshot of a proxy that comes later; with descriptors of our own, since the
number of one that its owner has closed soon means another pod's namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from agent.errors import KernelError, PodNotReadyError, ProtocolError, UnavailableError, WeftError
from agent.handover import AddPod, AgentEnd, DeletePod, KeepPod, Request, SnapshotSent
from agent.metrics import NodeMetrics
from agent.model import PodUid

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0  # between two tries of an addition that the proxy refused
ACCEPT_SECONDS: Final = 0.2  # at least between two connections: a proxy in a crash loop stays harmless
# How long an exemption outlives the connection it came with, while the process lives: a proxy that
# drains goes on dialling, and after the agent's restart it has to come back first.
LINGER_SECONDS: Final = 30.0

Job = tuple[Request, "asyncio.Future[str]"]


class Exemptions(Protocol):
    """Who is left alone by the hooks."""

    def exempt(self, cgroup: Path) -> int: ...

    def end_exemption(self, number: int) -> None: ...

    def exempted(self) -> set[int]: ...


@dataclass(eq=False, slots=True)
class _Connection:
    end: AgentEnd
    jobs: asyncio.Queue[Job] = field(default_factory=asyncio.Queue)
    served: set[PodUid] = field(default_factory=set)  # acknowledged by this proxy
    refused: dict[PodUid, str] = field(default_factory=dict)

    def close(self, reason: WeftError | None) -> None:
        self.end.close()
        while not self.jobs.empty():
            _, answer = self.jobs.get_nowait()
            if not answer.done():
                answer.set_exception(UnavailableError(f"the node proxy has gone: {reason}"))


class Proxies:
    """All connections. `serve` runs them; `add` and `delete` may be called from any task of the loop.

    cgroup_of: the cgroup directory of a process, by its number.
    """

    def __init__(
        self,
        exemptions: Exemptions,
        cgroup_of: Callable[[int], Path],
        metrics: NodeMetrics,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._metrics = metrics
        self._linger_seconds = linger_seconds
        self._exemptions = exemptions
        self._cgroup_of = cgroup_of
        self._handed: dict[PodUid, AddPod | KeepPod] = {}
        self._connections: list[_Connection] = []  # past their snapshot, the newest last
        self._users: dict[int, int] = {}  # connections by cgroup

    def adopt(self, requests: Iterable[AddPod | KeepPod]) -> None:
        """Pods that an earlier agent handed over; the next snapshot has them. Their descriptors stay the caller's."""
        for request in requests:
            self._remember(request)

    async def add(self, pod: AddPod) -> None:
        """Return once the newest proxy serves the pod. PodNotReadyError when it does not, or there is none."""
        while True:
            if not self._connections:
                raise PodNotReadyError("no node proxy is connected")
            newest = self._connections[-1]
            try:
                error = await self._ask(newest, pod)
            except UnavailableError as exc:
                raise PodNotReadyError(str(exc)) from exc
            if error:
                raise PodNotReadyError(f"the node proxy refuses the pod: {error}")
            newest.served.add(pod.uid)
            if self._connections and self._connections[-1] is newest:
                self._remember(pod)
                return

    async def delete(self, uid: PodUid) -> None:
        """Return once every proxy has let go of the pod, or is gone. Twice is fine."""
        self._forget(uid)
        await asyncio.gather(*(self._let_go(each, uid) for each in self._connections))

    def _remember(self, request: AddPod | KeepPod) -> None:
        own = replace(request, netns=os.dup(request.netns)) if isinstance(request, AddPod) else request
        self._forget(request.uid)
        self._handed[request.uid] = own

    def _forget(self, uid: PodUid) -> None:
        request = self._handed.pop(uid, None)
        if isinstance(request, AddPod):
            os.close(request.netns)

    async def _let_go(self, connection: _Connection, uid: PodUid) -> None:
        if uid not in connection.served:
            return
        connection.served.discard(uid)
        connection.refused.pop(uid, None)
        with contextlib.suppress(UnavailableError):
            error = await self._ask(connection, DeletePod(uid))
            if error:
                logger.warning("the node proxy failed to let go of a pod", extra={"uid": uid, "reason": error})

    async def _ask(self, connection: _Connection, request: Request) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.jobs.put_nowait((request, answer))
        return await answer

    async def serve(self, listener: socket.socket) -> None:
        """Accept proxies, for ever. Exemptions left by an earlier agent end when their proxy does not come back."""
        left = self._exemptions.exempted()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end_leftovers(left))
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                group.create_task(self._attend(AgentEnd(sock)))
                await asyncio.sleep(ACCEPT_SECONDS)

    async def _end_leftovers(self, left: set[int]) -> None:
        await asyncio.sleep(self._linger_seconds)
        for number in left - self._users.keys():
            self._exemptions.end_exemption(number)

    async def _attend(self, end: AgentEnd) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(end.close)
            try:
                process = os.pidfd_open(_seen(end.peer_process()))
                stack.callback(os.close, process)
                directory = self._cgroup_of(end.peer_process())
                # Whoever does not know the protocol is no proxy, and nothing is exempt for its sake.
                await end.hello()
                cgroup = self._begin_exemption(directory)
            except (WeftError, OSError) as exc:
                self._metrics.strangers.inc()
                logger.error("a node proxy is turned away", extra={"reason": exc})
                return
            await self._converse(end)
            end.close()
            # Not when the agent ends: then the proxy goes on without it.
            await self._outlive(process)
            self._release(cgroup)

    async def _converse(self, end: AgentEnd) -> None:
        """From the snapshot until the proxy goes, or breaks the protocol."""
        connection = _Connection(end)
        reason: WeftError | None = None
        try:
            await self._snapshot(connection)
            self._connections.append(connection)
            self._metrics.connected_proxies.set(len(self._connections))
            logger.info("node proxy connected", extra={"pid": end.peer_process()})
            await self._work(connection)
        except WeftError as exc:
            reason = exc
            if isinstance(exc, ProtocolError):
                self._metrics.strangers.inc()
            logger.info("node proxy disconnected", extra={"reason": exc})
        finally:
            if connection in self._connections:
                self._connections.remove(connection)
            self._metrics.connected_proxies.set(len(self._connections))
            connection.close(reason)

    async def _outlive(self, process: int) -> None:
        """Return when the process has ended, or has had time to drain."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(process, ended.set)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._linger_seconds)
        finally:
            loop.remove_reader(process)

    def _begin_exemption(self, cgroup: Path) -> int:
        number = self._exemptions.exempt(cgroup)
        self._users[number] = self._users.get(number, 0) + 1
        return number

    def _release(self, cgroup: int) -> None:
        self._users[cgroup] -= 1
        if not self._users[cgroup]:
            del self._users[cgroup]
            self._exemptions.end_exemption(cgroup)

    async def _snapshot(self, connection: _Connection) -> None:
        while missing := self._missing(connection):
            for uid in missing:
                await self._hand(connection, uid)
        error = await connection.end.request(SnapshotSent())
        if error:
            raise ProtocolError(f"the node proxy refuses the snapshot: {error}")

    def _missing(self, connection: _Connection) -> list[PodUid]:
        return [uid for uid in self._handed if uid not in connection.served and uid not in connection.refused]

    async def _hand(self, connection: _Connection, uid: PodUid) -> None:
        request = self._handed.get(uid)
        if request is None:
            return
        with _held(request) as held:
            error = await connection.end.request(held)
        if uid not in self._handed:  # deleted meanwhile, and this proxy was not told
            await connection.end.request(DeletePod(uid))
        elif not error:
            connection.served.add(uid)
            connection.refused.pop(uid, None)
        elif connection.refused.get(uid) != error:
            connection.refused[uid] = error
            # It stays redirected: its connections fail until the proxy takes it.
            logger.error("the node proxy refuses an enrolled pod", extra={"uid": uid, "reason": error})

    async def _work(self, connection: _Connection) -> None:
        retry_at = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            job = await self._next(connection)
            if job is not None:
                await self._do(connection, *job)
            if clock() >= retry_at and connection is self._connections[-1]:
                retry_at = clock() + RETRY_SECONDS
                for uid in [*self._missing(connection), *connection.refused]:
                    await self._hand(connection, uid)

    async def _do(self, connection: _Connection, request: Request, answer: asyncio.Future[str]) -> None:
        if answer.done():
            return
        try:
            with _held(request) as held:
                result = await connection.end.request(held)
        except WeftError as exc:
            if not answer.done():
                answer.set_exception(UnavailableError(f"the node proxy failed: {exc}"))
            raise
        if not answer.done():
            answer.set_result(result)

    async def _next(self, connection: _Connection) -> Job | None:
        """The next job, or None after RETRY_SECONDS without one; UnavailableError when the proxy has gone."""
        gone = asyncio.ensure_future(connection.end.closed())
        job = asyncio.ensure_future(connection.jobs.get())
        try:
            done, _ = await asyncio.wait({gone, job}, timeout=RETRY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                if job in done:
                    connection.jobs.put_nowait(job.result())
                gone.result()
                raise UnavailableError("it closed the connection")
            return job.result() if job in done else None
        finally:
            for waiting in (gone, job):
                waiting.cancel()
            await asyncio.gather(gone, job, return_exceptions=True)


def _seen(pid: int) -> int:
    if pid == 0:  # unix(7): the peer is not in our PID namespace, nor below it
        raise KernelError("whoever called cannot be seen from here; the agent needs hostPID: true")
    return pid


@contextlib.contextmanager
def _held(request: Request) -> Iterator[Request]:
    """The request with a descriptor that nobody else closes while it is under way."""
    if not isinstance(request, AddPod):
        yield request
        return
    own = replace(request, netns=os.dup(request.netns))
    try:
        yield own
    finally:
        os.close(own.netns)
