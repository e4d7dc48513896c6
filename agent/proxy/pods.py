"""Takes this node's pods from the node agent and gives them to the engine.

The agent decides which pods there are. When it goes away every pod stays served, and the
connection is sought again; only a new, complete snapshot removes what it does not name.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agent.backoff import Jitter, Sleep, delays, jitter
from agent.errors import EngineError, ProtocolError, UnavailableError
from agent.handover import AddPod, DeletePod, KeepPod, Request, SnapshotSent
from agent.model import Identity, PodUid

logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.01
MOST_DELAY_SECONDS = 1.0


class Engine(Protocol):
    """What the hand-over needs of the engine; as agent._engine.Engine."""

    def add_pod(self, uid: str, name: str, namespace: str, service_account: str, netns: int) -> None: ...
    def remove_pod(self, uid: str, drain_seconds: float) -> None: ...
    def pods(self) -> list[str]: ...


class Agent(Protocol):
    """An open connection to the node agent; as handover.ProxyEnd."""

    async def receive(self) -> Request: ...
    async def acknowledge(self, error: str = "") -> None: ...
    def close(self) -> None: ...


class Preparation(Protocol):
    """Whoever has certificates ready for pods; as certificates.Certificates."""

    def prepared(self, identity: str) -> AbstractAsyncContextManager[None]: ...
    def refresh(self) -> None: ...


class Pods:
    """Owns which pods the engine serves. `on_snapshot` is called once, after the first complete snapshot."""

    def __init__(
        self,
        engine: Engine,
        connect: Callable[[], Awaitable[Agent]],
        certificates: Preparation,
        on_snapshot: Callable[[], None],
        *,
        trust_domain: str,
        drain_seconds: float,
        sleep: Sleep = asyncio.sleep,
        factor: Jitter = jitter,
    ) -> None:
        self._engine = engine
        self._connect = connect
        self._certificates = certificates
        self._on_snapshot = on_snapshot
        self._trust_domain = trust_domain
        self._drain_seconds = drain_seconds
        self._sleep = sleep
        self._factor = factor
        self._named: set[PodUid] = set()

    async def run(self) -> None:
        """Follow the node agent, for ever."""
        pause, last = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor), ""
        while True:
            try:
                agent = await self._connect()
                pause, last = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor), ""
                logger.info("connected to the node agent")
                try:
                    await self._serve(agent)
                finally:
                    agent.close()
            except (UnavailableError, ProtocolError) as exc:
                if str(exc) != last:
                    logger.warning("no node agent; all pods stay served", extra={"reason": exc})
                last = str(exc)
            await self._sleep(next(pause))

    async def _serve(self, agent: Agent) -> None:
        """Do what the agent asks until it goes; an error is what ends it."""
        self._named = set()
        while True:
            request = await agent.receive()
            error = await self._handle(request)
            if error:
                logger.error("request of the node agent failed", extra={"request": request, "reason": error})
            await agent.acknowledge(error)
            self._certificates.refresh()

    async def _handle(self, request: Request) -> str:
        """Do one request; why it could not be done, or nothing."""
        try:
            match request:
                case AddPod():
                    await self._add(request)
                case KeepPod(uid):
                    self._keep(uid)
                case DeletePod(uid):
                    await self._remove(uid)
                case SnapshotSent():
                    await self._complete_snapshot()
        except EngineError as exc:
            return str(exc)
        return ""

    async def _add(self, pod: AddPod) -> None:
        # Named even if it fails: of a pod that exists, what is served already stays.
        self._named.add(pod.uid)
        identity = Identity(pod.namespace, pod.service_account, self._trust_domain)
        is_handed_on = False
        try:
            async with self._certificates.prepared(str(identity)):
                is_handed_on = True
                await asyncio.to_thread(self._add_and_close, pod)
        finally:
            if not is_handed_on:
                os.close(pod.netns)
        logger.info("pod is served", extra={"pod": f"{pod.namespace}/{pod.name}", "uid": pod.uid})

    def _add_and_close(self, pod: AddPod) -> None:
        # The thread closes it: if the wait for the thread is cancelled, the engine may still be using it.
        try:
            self._engine.add_pod(pod.uid, pod.name, pod.namespace, pod.service_account, pod.netns)
        finally:
            os.close(pod.netns)

    def _keep(self, uid: PodUid) -> None:
        if uid not in self._engine.pods():
            raise EngineError(f"pod {uid} is not served here, so it cannot be kept; it must be added")
        self._named.add(uid)

    async def _remove(self, uid: PodUid) -> None:
        await asyncio.to_thread(self._engine.remove_pod, uid, self._drain_seconds)
        self._named.discard(uid)
        logger.info("pod is no longer served", extra={"uid": uid})

    async def _complete_snapshot(self) -> None:
        for uid in self._engine.pods():
            if uid not in self._named:
                await self._remove(PodUid(uid))
        self._on_snapshot()
        logger.info("snapshot is complete", extra={"pods": len(self._named)})
