"""Telling the API server how a pod is doing: its status, written whenever it is another one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from agent.api.pods.spec import RunnablePod
from agent.backoff import delays
from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import Object
from agent.lab.addresses import NodePlan
from agent.lab.kubernetes.states import ContainerState, first_states, phase, pod_status, text
from agent.lab.kubernetes.writes import Writes

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS = 0.2, 10.0


class Report:
    """The status of one pod. `keep` is its one writer, and flush() when that has ended."""

    def __init__(self, writes: Writes, node: NodePlan, pod: RunnablePod, stored: Object) -> None:
        """stored: the status that the API server has."""
        self._writes = writes
        self._node = node
        self._pod = pod
        self._told = stored
        self._start_time = stored.get("startTime") or text(datetime.now(UTC))
        self._addresses: Sequence[str] = ()
        self._refusal: tuple[str, str] | None = None
        self._changed = asyncio.Event()
        self._changed.set()
        self.states = first_states(pod)

    @property
    def phase(self) -> str:
        return "Failed" if self._refusal else phase(self._pod, self.states)

    @property
    def addresses(self) -> Sequence[str]:
        """The pod's; none before it has a network."""
        return self._addresses

    @property
    def is_ready(self) -> bool:
        return self.phase == "Running" and all(self.states[found.name].is_ready for found in self._pod.spec.containers)

    def set_addresses(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._changed.set()

    def set(self, container: str, state: ContainerState) -> None:
        self.states[container] = state
        self._changed.set()

    def refuse(self, reason: str, message: str) -> None:
        """The pod cannot be run, and never will be."""
        self._refusal = reason, message
        self._changed.set()

    async def keep(self) -> None:
        """Write every change, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write the present status, unless it is written; tried until it succeeds or the pod's object is gone."""
        pauses = delays(_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS)
        while (status := self._status()) != self._told:
            try:
                await self._writes.status(self._pod.metadata, status)
                self._told = status
            except (NotFoundError, ConflictError):
                return
            except WeftError as exc:
                logger.warning("status is not written", extra={"pod": self._pod.full_name, "reason": exc})
                await asyncio.sleep(next(pauses))

    def _status(self) -> Object:
        times = {"startTime": self._start_time, "now": text(datetime.now(UTC))}
        host = self._node.address.texts
        status = pod_status(self._pod, self.states, self._addresses, host, times, self._told)
        if self._refusal is not None:
            status |= {"phase": "Failed", "reason": self._refusal[0], "message": self._refusal[1]}
        return status
