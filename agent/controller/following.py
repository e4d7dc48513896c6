"""From what the cluster tells to what is published: at once while changes are few, together when they are many.

Until the cluster has been read nothing is computed: nobody may be answered yet, and what is made of one object depends
on others that come later. From then on the first change is published at once, and those that come within a moment
after it together. So the work for a burst of changes does not grow with it, and what proxies are sent neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import fields
from typing import Final

from agent import kube
from agent.controller.cluster import ClusterState
from agent.controller.touched import NOTHING, Touched

logger = logging.getLogger(__name__)

# Of a change's way to a proxy this is the longest part, and in a burst the only reason that there are not as many
# responses as changes.
PAUSE_SECONDS: Final = 0.1

Publish = Callable[[Touched], None]


class Gathered:
    """What several changes have touched."""

    def __init__(self) -> None:
        self._touched: dict[str, set[Hashable]] = {each.name: set() for each in fields(Touched)}

    def add(self, touched: Touched) -> None:
        for name, keys in self._touched.items():
            keys |= getattr(touched, name)

    def take(self) -> Touched:
        """All of it; nothing is left."""
        taken = Touched(**{name: frozenset(keys) for name, keys in self._touched.items()})  # type: ignore[arg-type]
        for keys in self._touched.values():
            keys.clear()
        return taken


class Following:
    """publish: what is to be done with what was touched. complete: called once all that exists has been published."""

    def __init__(
        self,
        state: ClusterState,
        publish: Publish,
        complete: Callable[[], None],
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._state = state
        self._publish = publish
        self._complete = complete
        self._pause_seconds = pause_seconds
        self._gathered = Gathered()
        self._wake = asyncio.Event()

    async def follow(self, changes: AsyncGenerator[kube.Change, None]) -> None:
        """Take in every change of the cluster, for ever."""
        async with contextlib.aclosing(changes), asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(self._publish_all())
            async for change in changes:
                touched = self._state.apply(change)
                self._gathered.add(touched)
                if self._state.is_synced and (touched != NOTHING or change.type is kube.ChangeType.SYNCED):
                    self._wake.set()
            publishing.cancel()

    async def _publish_all(self) -> None:
        is_complete = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._publish(self._gathered.take())
            if not is_complete:
                is_complete = True
                self._complete()
                logger.info("cluster read", extra=self._counts())
            await asyncio.sleep(self._pause_seconds)

    def _counts(self) -> dict[str, int]:
        return {"pods": len(self._state.candidates), "services": len(self._state.services)}
