"""A Kubernetes API server as the cluster that the processes work with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path

from agent.apiserver import listing, requests
from agent.apiserver.connection import MERGE_PATCH, Connection
from agent.apiserver.follower import Follower
from agent.errors import ConflictError, RefusedError
from agent.kube import Change, ChangeType, Cluster, Kind, Object

QUEUE_SIZE = 1000  # changes that nobody has taken yet; beyond that the connections wait

_AT_ONCE: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}


class ApiServer:
    """What kube.Cluster asks for, by requests to an API server; everything fails as Connection.request says.

    only: by kind the field selector that its lists and watches are narrowed to.
    """

    def __init__(self, connection: Connection, only: Mapping[Kind, str] | None = None) -> None:
        self._connection = connection
        self._only = only or {}

    async def list(self, kind: Kind) -> list[Object]:
        return await listing.everything(self._connection, kind, self._selector(kind))

    def _selector(self, kind: Kind) -> str:
        return f"metadata.name={kind.named}" if kind.named else self._only.get(kind, "")

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return requests.whole(kind, await self._connection.request("GET", requests.item(kind, namespace, name)))

    async def create(self, kind: Kind, new: Object) -> Object:
        path = requests.collection(kind, new["metadata"].get("namespace", ""))
        body = {**new, "apiVersion": kind.api_version, "kind": kind.name}
        return requests.whole(kind, await self._connection.request("POST", path, body=body))

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object, *, uid: str | None = None) -> Object:
        stored: Object = {}
        for request in requests.patches(kind, namespace, name, patch, uid):
            try:
                stored = await self._connection.request("PATCH", request.path, None, request.body, MERGE_PATCH)
            except RefusedError as exc:
                # Another object of that name: to the API server, a patch that changes what cannot be changed.
                if uid is not None and "metadata.uid" in str(exc):
                    raise ConflictError(f"{kind.name} {namespace}/{name} is another object by now") from exc
                raise
        return requests.whole(kind, stored)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """As Cluster.delete; a pod is gone at once, which is for its kubelet to do."""
        await self._connection.request("DELETE", requests.item(kind, namespace, name), body=_AT_ONCE)

    async def watch(self, kinds: Collection[Kind]) -> AsyncGenerator[Change, None]:
        """As Cluster.watch. It outlives every failure of the API server; a kind that is not served has no objects."""
        changes: asyncio.Queue[Change | None] = asyncio.Queue(QUEUE_SIZE)
        # A task group cannot span the yields: whoever takes the next change may be another task each time.
        following = asyncio.create_task(self._follow(kinds, changes))
        try:
            while (change := await changes.get()) is not None:
                yield change
            await following  # a bug: it is raised here
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def _follow(self, kinds: Collection[Kind], changes: asyncio.Queue[Change | None]) -> None:
        async def deliver(new: Iterable[Change]) -> None:
            for change in new:
                await changes.put(change)

        followers = [Follower(self._connection, kind, deliver, self._selector(kind)) for kind in kinds]
        try:
            async with asyncio.TaskGroup() as group:
                for follower in followers:
                    group.create_task(follower.first())
            await deliver([Change(ChangeType.SYNCED)])
            async with asyncio.TaskGroup() as group:
                for follower in followers:
                    group.create_task(follower.follow())
        except Exception:
            await changes.put(None)
            raise


@contextlib.asynccontextmanager
async def api_server(kubeconfig: Path | None, only: Mapping[Kind, str] | None = None) -> AsyncIterator[Cluster]:
    """The cluster of a kubeconfig's current context; without one, that of the pod that this runs in."""
    connection = await Connection.open(kubeconfig)
    try:
        yield ApiServer(connection, only)
    finally:
        await connection.close()
