"""Whether the agent ends for good: its DaemonSet, or the DaemonSet's namespace, has been deleted.

An agent that is replaced leaves everything as it is for the next one. One that is uninstalled is
the last that can clean its node. When it ends its permissions may be gone already, so it follows
its DaemonSet all the time: a watch that is open stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Final

from agent import kube
from agent.errors import NotFoundError, WeftError
from agent.kube import Change, ChangeType, Cluster, Kind
from agent.wire import SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)

_ANSWER_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 5.0
_DAEMON_SET: Final = Kind("apps/v1", "DaemonSet", "daemonsets", namespace=SYSTEM_NAMESPACE)
_NAMESPACE: Final = replace(kube.NAMESPACE, named=SYSTEM_NAMESPACE)


class Departure:
    """Of the DaemonSet `name` in the mesh's namespace."""

    def __init__(self, name: str) -> None:
        self._kind = replace(_DAEMON_SET, named=name)
        self._was_seen = False
        self._stands = False  # the DaemonSet
        self._is_namespace_ending = False

    async def follow(self, cluster: Cluster) -> None:
        """Watch, for ever."""
        while True:
            try:
                async with contextlib.aclosing(cluster.watch((self._kind, _NAMESPACE))) as changes:
                    async for change in changes:
                        self.take(change)
            except WeftError as exc:
                logger.warning("the agent's own DaemonSet cannot be followed", extra={"reason": exc})
            await asyncio.sleep(RETRY_SECONDS)

    def take(self, change: Change) -> None:
        """One change of the watch."""
        if change.object is None:
            return
        stands = change.type is not ChangeType.DELETED and not change.object["metadata"].get("deletionTimestamp")
        if change.kind == _NAMESPACE:
            self._is_namespace_ending = not stands
        elif change.kind == self._kind:
            self._was_seen, self._stands = True, stands

    @property
    def is_final(self) -> bool:
        """As far as has been seen. A DaemonSet that was never there says nothing: it may have another name."""
        return self._was_seen and (self._is_namespace_ending or not self._stands)

    async def is_final_now(self, cluster: Cluster) -> bool:
        """As the API server says, or when it says nothing, as has been seen."""
        if self._is_namespace_ending:
            return self.is_final
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await cluster.get(self._kind, SYSTEM_NAMESPACE, self._kind.named)
        except NotFoundError:
            return self._was_seen
        except (WeftError, TimeoutError):
            return self.is_final
        return bool(found["metadata"].get("deletionTimestamp"))
