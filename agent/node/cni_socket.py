"""The edge to the CNI plugin: the socket that it asks at.

Only root may ask, as the container runtime is. A caller that does not ask at once is cut, and
so is one that asks something else; each has a task of its own, so nobody waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from agent import packets
from agent.errors import ProtocolError, UnavailableError
from agent.metrics import NodeMetrics
from agent.node import cni_requests
from agent.node.cni_requests import Answer, Request, State
from agent.packets import Packets, close_all

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 2.0  # the plugin asks as soon as it is connected
TELL_SECONDS: Final = 2.0
MOST_CALLERS: Final = 512  # more than a node has pods; the next one is to try again
_BACKLOG: Final = 512
_RETRY_SECONDS: Final = 0.1

Result = TypeVar("Result")
Ask = Callable[[Request, int], Awaitable[Answer]]


def listen(path: Path) -> socket.socket:
    """A listening CNI socket at `path`, in place of a stale one."""
    return packets.listen(path, _BACKLOG)


class CniSocket:
    """Serves the plugin; `ask` answers a request with its network namespace, whose descriptor it must not close."""

    def __init__(self, ask: Ask, metrics: NodeMetrics, allowed_uid: int = 0, ask_seconds: float = ASK_SECONDS) -> None:
        self._ask = ask
        self._metrics = metrics
        self._allowed_uid = allowed_uid
        self._ask_seconds = ask_seconds
        self._callers = 0

    async def serve(self, listener: socket.socket) -> None:
        """For ever; closes the socket at the end."""
        loop = asyncio.get_running_loop()
        with listener:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        accepted, _ = await loop.sock_accept(listener)
                    except OSError as exc:
                        logger.error("cannot accept a CNI plugin", extra={"reason": exc})
                        await asyncio.sleep(_RETRY_SECONDS)  # out of descriptors: some caller ends first
                        continue
                    group.create_task(self._attend(Packets(accepted, cni_requests.LONGEST_REQUEST, "CNI socket")))

    async def _attend(self, caller: Packets) -> None:
        self._callers += 1
        started = time.monotonic()
        try:
            outcome = await self._serve_one(caller)
        except (ProtocolError, UnavailableError) as exc:
            logger.warning("a caller of the CNI socket was cut", extra={"reason": exc})
            outcome = "cut"
        except Exception:  # whatever one caller causes, the others are served
            logger.exception("the failure is of no kind that is expected")
            outcome = "cut"
        finally:
            self._callers -= 1
            caller.close()
        self._metrics.cni_requests.labels(outcome).inc()
        if outcome != "cut":
            self._metrics.cni_seconds.observe(time.monotonic() - started)

    async def _serve_one(self, caller: Packets) -> str:
        """What became of the request, for the metric."""
        peer = caller.peer()
        if peer.uid != self._allowed_uid:
            raise ProtocolError(f"process {peer.pid} of user {peer.uid} called; only root may")
        if self._callers > MOST_CALLERS:
            answer = Answer(State.WAITING, f"{MOST_CALLERS} pods are about to start already")
        else:
            answer = await self._answered(caller)
        await _in_time(caller.send(answer.encoded(), []), TELL_SECONDS)
        return answer.state.value

    async def _answered(self, caller: Packets) -> Answer:
        packet, fds = await _in_time(caller.receive(), self._ask_seconds)
        try:
            if len(fds) != 1:
                raise ProtocolError(f"a request came with {len(fds)} descriptors; accepted is one, of the namespace")
            request = cni_requests.parse(packet)
            answer = await self._ask(request, fds[0])
        finally:
            close_all(fds)
        if answer.reason:
            logger.warning("pod is kept from starting", extra={"pod": request.full_name, "reason": answer.reason})
        return answer


async def _in_time(step: Awaitable[Result], seconds: float) -> Result:
    try:
        return await asyncio.wait_for(step, seconds)
    except TimeoutError as exc:
        raise UnavailableError(f"the caller did nothing for {seconds:g} s") from exc
