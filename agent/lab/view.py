"""What the cluster holds now, kept up to date by one watch and read by all of the lab."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TypeVar

from agent.api.kubernetes import Deployment, Namespace, Pod, Resource, Service, ServiceAccount, parse
from agent.errors import InvalidObjectError
from agent.kube import KINDS, Change, ChangeType, Cluster, Object
from agent.manifests import Key

logger = logging.getLogger(__name__)
R = TypeVar("R", Namespace, Pod, Service, ServiceAccount, Deployment)


class View:
    """The objects by key: raw, and typed when they are valid."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._raw: dict[Key, Object] = {}
        self._typed: dict[Key, Resource] = {}
        self._subscribers: list[asyncio.Event] = []

    async def follow(self, synced: asyncio.Event) -> None:
        """Watch for ever; sets `synced` once all that existed at first is here."""
        async with contextlib.aclosing(self._cluster.watch(KINDS)) as changes:
            async for change in changes:
                if change.type is ChangeType.SYNCED:
                    synced.set()
                else:
                    self._apply(change)
                for event in self._subscribers:
                    event.set()

    def changed(self) -> asyncio.Event:
        """A new event that is set after every change; the caller clears it."""
        event = asyncio.Event()
        event.set()
        self._subscribers.append(event)
        return event

    def typed(self, kind: type[R]) -> list[R]:
        return [found for found in self._typed.values() if isinstance(found, kind)]

    def find(self, kind: type[R], namespace: str, name: str) -> R | None:
        found = self._typed.get(Key(kind.__name__, namespace, name))
        return found if isinstance(found, kind) else None

    def raw(self, key: Key) -> Object | None:
        return self._raw.get(key)

    def _apply(self, change: Change) -> None:
        if change.kind is None or change.object is None:
            return
        metadata = change.object["metadata"]
        key = Key(change.kind.name, metadata.get("namespace", ""), metadata["name"])
        if change.type is ChangeType.DELETED:
            self._raw.pop(key, None)
            self._typed.pop(key, None)
            return
        self._raw[key] = change.object
        try:
            self._typed[key] = parse(change.object, "state directory")
        except InvalidObjectError as exc:
            logger.error("stored object is not valid, its last good state stays", extra={"reason": exc})
