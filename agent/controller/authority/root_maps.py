"""The mesh's roots in every namespace: ConfigMap istio-ca-root-cert, which pods mount to know their controller by.

Only the leading controller writes them. What somebody else makes of one is put right.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from agent import kube
from agent.backoff import delays, jitter
from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import Change, ChangeType, Cluster, Object

logger = logging.getLogger(__name__)

NAME: Final = "istio-ca-root-cert"
SELECTOR: Final = f"metadata.name={NAME}"  # of all ConfigMaps, the only ones that are read
_KEY: Final = "root-cert.pem"
_LABELS: Final = {"istio.io/config": "true"}
_FIRST_RETRY_SECONDS: Final = 0.5
_LAST_RETRY_SECONDS: Final = 60.0


class RootMaps:
    """What is there, and what therefore has to be written. Rules only: RootMapWriter writes."""

    def __init__(self, root_pem: str) -> None:
        self._root_pem = root_pem
        self._namespaces: set[str] = set()
        self._stored: dict[str, object] = {}  # the roots that each namespace has been given

    def apply(self, change: Change) -> set[str]:
        """Take in a change of a Namespace or of a ConfigMap of our name; the namespaces that it is about."""
        if change.kind is None or change.object is None:
            return set(self._namespaces)
        metadata = change.object["metadata"]
        if change.kind == kube.NAMESPACE:
            is_there = change.type is not ChangeType.DELETED and not metadata.get("deletionTimestamp")
            (self._namespaces.add if is_there else self._namespaces.discard)(metadata["name"])
            return {metadata["name"]}
        if metadata["name"] != NAME:
            return set()
        if change.type is ChangeType.DELETED:
            self._stored.pop(metadata["namespace"], None)
        else:
            self._stored[metadata["namespace"]] = (change.object.get("data") or {}).get(_KEY)
        return {metadata["namespace"]}

    def is_due(self, namespace: str) -> bool:
        """Whether it has to be written."""
        return namespace in self._namespaces and self._stored.get(namespace) != self._root_pem

    def exists(self, namespace: str) -> bool:
        return namespace in self._stored

    @property
    def body(self) -> Object:
        return {"metadata": {"labels": _LABELS}, "data": {_KEY: self._root_pem}}


class RootMapWriter:
    """Keeps them so while it runs."""

    def __init__(self, cluster: Cluster, root_pem: str) -> None:
        self._cluster = cluster
        self._root_pem = root_pem

    async def run(self) -> None:
        """For ever. What cannot be written is logged once, and tried again."""
        maps = RootMaps(self._root_pem)
        due: asyncio.Queue[str] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_all(maps, due))
            is_whole = False
            async with contextlib.aclosing(self._cluster.watch((kube.NAMESPACE, kube.CONFIG_MAP))) as changes:
                async for change in changes:
                    touched = maps.apply(change)
                    is_whole = is_whole or change.type is ChangeType.SYNCED
                    for namespace in sorted(touched) if is_whole else ():
                        due.put_nowait(namespace)

    async def _write_all(self, maps: RootMaps, due: asyncio.Queue[str]) -> None:
        pauses = delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS, jitter)
        while True:
            namespace = await due.get()
            try:
                if maps.is_due(namespace):
                    await self._write(maps, namespace)
                pauses = delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS, jitter)
            except WeftError as exc:
                logger.error("the roots cannot be written", extra={"namespace": namespace, "reason": exc})
                due.put_nowait(namespace)
                await asyncio.sleep(next(pauses))

    async def _write(self, maps: RootMaps, namespace: str) -> None:
        # Gone, or made by somebody else meanwhile: the watch tells, and it is due again if it is wrong.
        with contextlib.suppress(NotFoundError, ConflictError):
            if maps.exists(namespace):
                await self._cluster.patch(kube.CONFIG_MAP, namespace, NAME, maps.body)
            else:
                new = {**maps.body, "metadata": {"name": NAME, "namespace": namespace, "labels": _LABELS}}
                await self._cluster.create(kube.CONFIG_MAP, new)
