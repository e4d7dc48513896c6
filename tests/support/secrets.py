"""A cluster of Secrets only, in memory, that behaves to writers and watchers as an API server does."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncGenerator, Callable, Collection

from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import SECRET, Change, ChangeType, Kind, Object, merge


class Secrets:
    """Those of one namespace, by name.

    failure: with what reads and writes fail from now on. before_write: what somebody else does just before a write.
    """

    def __init__(self, *stored: Object) -> None:
        self.stored: dict[str, Object] = {}
        self.failure: WeftError | None = None
        self.before_write: Callable[[], None] | None = None
        self._versions = itertools.count(1)
        self._watchers: list[asyncio.Queue[Change]] = []
        for each in stored:
            self.put(each)

    def put(self, secret: Object) -> None:
        """As a person does: whatever was there is replaced."""
        name = secret["metadata"]["name"]
        type_ = ChangeType.MODIFIED if name in self.stored else ChangeType.ADDED
        metadata = {**secret["metadata"], "resourceVersion": str(next(self._versions))}
        self.stored[name] = {**copy.deepcopy(secret), "metadata": metadata}
        self._tell(type_, self.stored[name])

    async def written(self, name: str) -> None:
        """Wait until somebody writes this one."""
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watchers.append(queue)
        while (change := await queue.get()).object is None or change.object["metadata"]["name"] != name:
            pass

    def remove(self, name: str) -> None:
        self._tell(ChangeType.DELETED, self.stored.pop(name))

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        self._fail()
        if name not in self.stored:
            raise NotFoundError(name)
        return self.stored[name]

    async def create(self, kind: Kind, new: Object) -> Object:
        self._begin_write()
        if new["metadata"]["name"] in self.stored:
            raise ConflictError("exists already")
        self.put(new)
        return self.stored[new["metadata"]["name"]]

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        self._begin_write()
        old = await self.get(kind, namespace, name)
        if patch["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise ConflictError("changed meanwhile")
        self.put(merge(old, patch))
        return self.stored[name]

    async def watch(self, kinds: Collection[Kind]) -> AsyncGenerator[Change, None]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        for each in self.stored.values():
            queue.put_nowait(Change(ChangeType.ADDED, SECRET, each))
        queue.put_nowait(Change(ChangeType.SYNCED))
        self._watchers.append(queue)
        while True:
            yield await queue.get()

    def _begin_write(self) -> None:
        self._fail()
        if self.before_write is not None:
            others, self.before_write = self.before_write, None
            others()

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _tell(self, type_: ChangeType, secret: Object) -> None:
        for queue in self._watchers:
            queue.put_nowait(Change(type_, SECRET, secret))
