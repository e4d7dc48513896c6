"""What the cluster holds now, kept up to date by one watch and read by all of the lab."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from typing import TypeVar

from agent.api.kubernetes import Resource, parse
from agent.errors import InvalidObjectError
from agent.kube import KINDS, Change, ChangeType, Cluster, Kind, Object
from agent.manifests import Key

logger = logging.getLogger(__name__)
R = TypeVar("R", bound=Resource)
Read = Callable[[Object], Resource | None]


def stored(found: Object) -> Resource:
    """The typed form of an object of a state directory."""
    return parse(found, "state directory")


class View:
    """The objects by key: raw, and typed when they are valid and of a kind that has a typed form."""

    def __init__(self, cluster: Cluster, kinds: Collection[Kind] = KINDS, read: Read = stored) -> None:
        self._cluster = cluster
        self._kinds = kinds
        self._read = read
        self._raw: dict[Key, Object] = {}
        self._typed: dict[Key, Resource] = {}
        self._subscribers: list[asyncio.Event] = []

    async def follow(self, synced: asyncio.Event) -> None:
        """Watch for ever; sets `synced` once all that existed at first is here."""
        async with contextlib.aclosing(self._cluster.watch(self._kinds)) as changes:
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

    def every(self, kind: Kind) -> list[Object]:
        """All objects of a kind, as they were read."""
        return [found for key, found in self._raw.items() if key.kind == kind.name]

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
            typed = self._read(change.object)
            if typed is not None:
                self._typed[key] = typed
        except InvalidObjectError as exc:
            logger.error("stored object is not valid, its last good state stays", extra={"reason": exc})
