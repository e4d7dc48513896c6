"""What controllers say of objects in their status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from agent.analysis import waypoints
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.routes import ROUTES
from agent.api.gateway_api.gateway import Gateway
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.workload_entry import WorkloadEntry
from agent.api.objects import NamedObject
from agent.api.security import AuthorizationPolicy

_BOUND: Final = ("istio.io/WaypointBound",)
_ATTACHED: Final = ("Accepted", "Programmed", "ResolvedRefs")
_TYPES: Final[Mapping[type[NamedObject], tuple[str, ...]]] = {
    ServiceEntry: _BOUND,
    WorkloadEntry: _BOUND,
    AuthorizationPolicy: ("ZtunnelAccepted", "WaypointAccepted"),
    Gateway: _ATTACHED,
    **dict.fromkeys(ROUTES, _ATTACHED),
}
_PARTLY: Final = ("WaypointAccepted", "PartiallyInvalid")  # True, and nevertheless not all of it holds


def negative(corpus: Corpus) -> Iterator[Finding]:
    """IST0171: a condition that says that the object does not do what it is for."""
    named = {use.waypoint for use in waypoints.uses(corpus)}
    for model, types in _TYPES.items():
        for entry in corpus.of(model):
            if model is Gateway and (entry.namespace, entry.name) in named:
                continue  # told of whoever needs it, WEFT0004
            for kind, reason, message in _negative(entry, types):
                why = ": ".join(part for part in (reason, message) if part)
                yield entry.finding("IST0171", "metadata", "name", condition=kind, why=why)


def _negative(entry: Entry[NamedObject], types: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    for each in _conditions(getattr(entry.value, "status", None)):
        kind, reason = str(each.get("type", "")), str(each.get("reason", ""))
        if kind in types and (each.get("status") == "False" or (kind, reason) == _PARTLY):
            yield kind, reason, str(each.get("message", ""))


def _conditions(status: object) -> Iterator[Mapping[str, object]]:
    """Those of the object, or of its attachment to each parent; of a status that was read, or is as it came."""
    if hasattr(status, "model_dump"):
        status = status.model_dump()
    if not isinstance(status, Mapping):
        return
    parents = status.get("parents")
    holders = [status, *(parents if isinstance(parents, list | tuple) else ())]
    for holder in holders:
        found = holder.get("conditions") if isinstance(holder, Mapping) else None
        yield from (each for each in found or () if isinstance(each, Mapping))
