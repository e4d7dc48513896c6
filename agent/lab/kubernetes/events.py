"""Events of pods: why one waits or was ended, for `kubectl describe pod`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.api.objects import ObjectMeta
from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import Object
from agent.lab.kubernetes.states import text
from agent.lab.kubernetes.writes import Writes

logger = logging.getLogger(__name__)

NORMAL: Final = ("Started", "Killing")  # reasons that are no warnings
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a pod, of one of its containers if named."""

    namespace: str
    pod: str
    uid: str
    node: str
    reason: str
    message: str
    container: str = ""


@dataclass(slots=True)
class _Told:
    name: str
    count: int


class Events:
    """Says the same again as one event with a count, as a kubelet does. `deliver` owns all state."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self._queue: asyncio.Queue[Said] = asyncio.Queue()
        self._told: dict[Said, _Told] = {}

    def say(self, pod: ObjectMeta, node: str, reason: str, message: str, container: str = "") -> None:
        """Have it written; whether that succeeds is nobody's concern."""
        self._queue.put_nowait(Said(pod.namespace, pod.name, pod.uid, node, reason, message, container))

    async def deliver(self) -> None:
        """Write what is said, for ever."""
        while True:
            said = await self._queue.get()
            try:
                await self._write(said, datetime.now(UTC))
            except WeftError as exc:
                logger.warning("event is lost", extra={"pod": said.pod, "event": said.message, "reason": exc})

    async def _write(self, said: Said, now: datetime) -> None:
        told = self._told.get(said)
        if told is not None:
            told.count += 1
            patch = {"count": told.count, "lastTimestamp": text(now)}
            try:
                await self._writes.repeat_event(said.namespace, told.name, patch)
                return
            except (NotFoundError, ConflictError):  # the API server keeps events for an hour
                del self._told[said]
        name = f"{said.pod}.{uuid.uuid4().hex[:16]}"
        await self._writes.add_event(event(said, name, now))
        while len(self._told) >= _MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[said] = _Told(name, 1)


def event(said: Said, name: str, now: datetime) -> Object:
    """The event as it is written first."""
    part: Mapping[str, str] = {"fieldPath": f"spec.containers{{{said.container}}}"} if said.container else {}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": said.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": said.namespace,
            "name": said.pod,
            "uid": said.uid,
            **part,
        },
        "type": "Normal" if said.reason in NORMAL else "Warning",
        "reason": said.reason,
        "message": said.message,
        "count": 1,
        "firstTimestamp": text(now),
        "lastTimestamp": text(now),
        "source": {"component": "kubelet", "host": said.node},
        "reportingComponent": "kubelet",
        "reportingInstance": said.node,
    }
