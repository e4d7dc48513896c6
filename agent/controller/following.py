"""From what the cluster tells to what is published: at once while changes are few, together when they are many.

Until the cluster has been read nothing is computed: nobody may be answered yet, and what is made of one object depends
on others that come later. From then on the first change is published at once, and those that come within a moment
after it together; as long as many come, the moment is longer. So the work for a burst of changes does not grow with it,
and what proxies are sent neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import fields
from typing import Final

from agent import kube
from agent.backoff import Sleep
from agent.controller.cluster import ClusterState
from agent.controller.touched import NOTHING, Touched

logger = logging.getLogger(__name__)

# Of a change's way to a proxy this is the longest part, and in a burst the only reason that there are not as many
# responses as changes.
PAUSE_SECONDS: Final = 0.1
# While many come, nobody waits for one of them alone, and every response costs each proxy and the controller.
MOST_PAUSE_SECONDS: Final = 0.4
MANY: Final = 10  # touched in one pause

Publish = Callable[[Touched], None]


class Gathered:
    """What several changes have touched."""

    def __init__(self) -> None:
        self._touched: dict[str, set[Hashable]] = {each.name: set() for each in fields(Touched)}

    def add(self, touched: Touched) -> None:
        for name, keys in self._touched.items():
            keys |= getattr(touched, name)

    def __len__(self) -> int:
        return sum(map(len, self._touched.values()))

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
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._state = state
        self._publish = publish
        self._complete = complete
        self._sleep = sleep
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
        is_complete, pause = False, PAUSE_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            is_burst = is_complete and len(self._gathered) >= MANY
            pause = min(pause * 2, MOST_PAUSE_SECONDS) if is_burst else PAUSE_SECONDS
            self._publish(self._gathered.take())
            if not is_complete:
                is_complete = True
                self._complete()
                logger.info("cluster read", extra=self._counts())
            await self._sleep(pause)

    def _counts(self) -> dict[str, int]:
        return {"pods": len(self._state.candidates), "services": len(self._state.services)}
