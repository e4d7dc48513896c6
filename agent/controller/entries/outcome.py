"""What becomes of one entry: what proxies are told of it, and what of it is not as its author wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.controller.entries.claims import Role, Standing, Verdict
from agent.controller.touched import Holder
from agent.proto import workload_pb2 as pb

_MOST_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class Shortfall:
    """is_conflict: another object has it; otherwise node proxies cannot do it."""

    text: str
    is_conflict: bool = False


@dataclass(slots=True)
class Outcome:
    """aliases: of each resource, the addresses that lead to it, by its name."""

    services: dict[str, pb.Service] = field(default_factory=dict)
    workloads: dict[str, pb.Workload] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    shortfalls: list[Shortfall] = field(default_factory=list)

    def told(self) -> tuple[Shortfall, ...]:
        """The first of them, and how many there are besides: an entry may have thousands."""
        more = len(self.shortfalls) - _MOST_TOLD
        rest = (Shortfall(f"and {more} more"),) if more > 0 else ()
        return (*self.shortfalls[:_MOST_TOLD], *rest)

    def lack(self, text: str) -> None:
        """Node proxies cannot do this."""
        self.shortfalls.append(Shortfall(text))

    def lose(self, text: str) -> None:
        """Somebody else has this."""
        self.shortfalls.append(Shortfall(text, is_conflict=True))


def owner(verdict: Verdict, namespace: str) -> str:
    """Who is in the way, in words for whoever may read objects of `namespace`: those of others are not named."""
    holder = verdict.to.holder if verdict.to is not None else None
    if holder is None:
        return "another object's"
    if verdict.to is not None and verdict.to.role is Role.HOST:
        return "an address of a node"
    return f"{told(holder, namespace)}'s"


def told(holder: Holder, namespace: str) -> str:
    """An object by its name, or only where it is."""
    if holder.namespace == namespace:
        return f"{holder.kind} {holder.name}"
    return f"a {holder.kind} of namespace {holder.namespace}"


def of_virtual_address(field_: str, address: str, verdict: Verdict, namespace: str) -> Shortfall | None:
    """What is said of a virtual address."""
    match verdict.standing:
        case Standing.LOST:
            text = f"{field_}: {address} is {owner(verdict, namespace)}, and leads to nothing of this entry"
        case Standing.AT_HOME:
            text = f"{field_}: {address} is {owner(verdict, namespace)}, which is older: only clients of namespace "
            text += f"{namespace} reach this entry"
        case _:
            return None
    return Shortfall(text, is_conflict=True)
