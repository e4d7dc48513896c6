"""Writes the status of entries: the addresses that hosts are given, and whether the entry is in force as written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from agent import kube
from agent.api.networking.service_entry import ServiceEntry
from agent.controller import conditions
from agent.controller.cluster import ClusterState
from agent.controller.due import Due
from agent.controller.entries import registry, terms
from agent.controller.entries.assignment import assignment, stated
from agent.controller.entries.claims import Role, Standing
from agent.controller.entries.outcome import Shortfall
from agent.controller.server import Clock
from agent.controller.touched import Holder
from agent.errors import ConflictError, NotFoundError, WeftError

logger = logging.getLogger(__name__)

_KINDS: Final = {registry.SERVICE_ENTRY: kube.SERVICE_ENTRY, registry.WORKLOAD_ENTRY: kube.WORKLOAD_ENTRY}
_AS_WRITTEN: Final = "node proxies act on it as it is written"


class EntryStatuses:
    """Writes while it runs. What it writes comes back as a change: then the condition follows the addresses."""

    def __init__(
        self,
        cluster: kube.Cluster,
        state: ClusterState,
        shortfalls: Callable[[Holder], tuple[Shortfall, ...]],
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._state = state
        self._shortfalls = shortfalls
        self._clock = clock
        self._promised: dict[Holder, set[str]] = {}  # written, and perhaps not come back yet
        # An address is free only if nobody has it: so not before all are known.
        self._due: Due[Holder] = Due(state.entries.holders, lambda: state.is_synced)

    def update(self, touched: Iterable[Holder]) -> None:
        """These entries, or what they depend on, have changed."""
        self._due.add(touched)

    async def run(self) -> None:
        """Write for ever. A status that cannot be written is logged, and due again at the entry's next change."""
        self._promised.clear()
        await self._due.run(self._write)

    async def _write(self, holder: Holder) -> None:
        entry = self._state.entries.find(holder)
        if entry is None or not self._state.has(holder.namespace):
            self._promised.pop(holder, None)
            return
        addresses = self._addresses(entry) if isinstance(entry, ServiceEntry) else None
        patch = {"status": {"addresses": addresses}} if addresses is not None else self._condition(holder)
        if patch is None:
            return
        if addresses is not None:
            self._promised[holder] = {each["value"] for each in addresses}
        try:
            await self._cluster.patch(_KINDS[holder.kind], *holder.key, patch, uid=entry.metadata.uid)
        except (NotFoundError, ConflictError):
            return  # it has gone, or is another one: the watch will tell
        except (WeftError, OSError) as exc:
            logger.error("status cannot be written", extra={"object": holder, "reason": exc})

    def _addresses(self, entry: ServiceEntry) -> list[dict[str, str]] | None:
        """What status.addresses has to be instead of what it is."""
        holder, index = terms.holder_of(entry), self._state.entries.claims

        def is_kept(address: str) -> bool:
            mine = [each for each in index.at(address) if each.holder == holder and each.role is Role.VIRTUAL]
            return any(index.judge(address, each).standing is Standing.OWN for each in mine)

        def is_taken(address: str) -> bool:
            promised = (found for other, found in self._promised.items() if other != holder)
            return index.is_had(address, holder) or any(address in found for found in promised)

        wanted = assignment(entry, is_kept, is_taken)
        if len(wanted) < len(terms.assignable_hosts(entry)) * len(terms.ASSIGNABLE):
            logger.error("no addresses are left to give", extra={"object": holder})
        return wanted if wanted != stated(entry) else None

    def _condition(self, holder: Holder) -> kube.Object | None:
        entry = self._state.entries.find(holder)
        lacks = self._shortfalls(holder)
        if not lacks:
            told = conditions.Told("Accepted", _AS_WRITTEN)
        else:
            reason = "Conflict" if any(each.is_conflict for each in lacks) else "UnsupportedValue"
            told = conditions.Told(reason, "; ".join(each.text for each in lacks))
        generation = entry.metadata.generation if entry is not None else 0
        return conditions.brought(self._state.entries.stated(holder), generation, told, self._clock())
