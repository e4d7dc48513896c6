"""Following the cluster: from its pods and namespaces to the pods that shall be enrolled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from agent import kube
from agent.errors import UnavailableError
from agent.kube import ChangeType, Cluster
from agent.model import NodeName
from agent.node.enrolment import Enrolments
from agent.node.inventory import Inventory
from agent.node.mesh_settings import MeshSettings
from agent.node.selection import DEFAULT, Rules, select

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
_WATCHED: Final = (kube.NAMESPACE, kube.POD, kube.SYSTEM_CONFIG_MAP)


class Watch:
    """Keeps the enrolments at what the cluster says.

    on_first: awaited once, when all pods are known for the first time and before any is
    enrolled, with the node's living pods. rules: of the agent's settings.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: NodeName,
        enrolments: Enrolments,
        on_first: Callable[[Inventory], Awaitable[None]],
        rules: Rules = DEFAULT,
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._enrolments = enrolments
        self._on_first = on_first
        self._is_first = True
        self._settings = MeshSettings(rules)
        self.inventory = Inventory()  # the last that was whole, for whoever looks
        self.changed = asyncio.Event()  # set at the next change of it, and replaced by a new one

    @property
    def rules(self) -> Rules:
        """Who belongs to the mesh, as its owner says now."""
        return self._settings.rules

    async def follow(self) -> None:
        """For ever. While the cluster is away, what is enrolled stays as it is."""
        while True:
            try:
                await self._follow_one()
            except UnavailableError as exc:
                logger.error("the cluster is away, everything stays as it is", extra={"reason": exc})
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_one(self) -> None:
        inventory = Inventory()
        is_whole = False
        self._settings.begin()
        async with contextlib.aclosing(self._cluster.watch(_WATCHED)) as changes:
            async for change in changes:
                inventory.apply(change)
                self._settings.apply(change)
                if change.type is ChangeType.SYNCED:
                    is_whole = True
                    if self._is_first:
                        await self._on_first(inventory)
                        self._is_first = False
                if is_whole:
                    self.inventory = inventory
                    self._want(inventory)
                    self.changed.set()
                    self.changed = asyncio.Event()

    def _want(self, inventory: Inventory) -> None:
        enrolled = self._enrolments.uids
        selected = select(inventory.pods.values(), inventory.namespace_labels, self._node, enrolled, self.rules)
        self._enrolments.report(selected.problems)
        self._enrolments.want(selected.wanted, inventory.living(self._node))
