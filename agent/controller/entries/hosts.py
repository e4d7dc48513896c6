"""Whose a host is: of several ServiceEntries of a namespace the oldest has it, and a Kubernetes Service before them.

Names of the cluster's own domain belong to the Services of their namespace, whether they are
there yet or not: an entry of another namespace gets none of them. Pure rules, and the index that
they are asked of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent import wire
from agent.controller.touched import Holder

_DOMAIN = f"svc.{wire.DEFAULT_CLUSTER_DOMAIN}"


@dataclass(frozen=True, slots=True)
class HostClaim:
    """One object's claim to a host. is_private: for clients of its own namespace only."""

    holder: Holder
    age: tuple[str, ...] = ()
    is_private: bool = False

    @property
    def is_service(self) -> bool:
        return self.holder.kind == "Service"


def spelt(host: str) -> str:
    """The one form of a host by which it is compared."""
    return host.lower().removesuffix(".")


def names_of_service(namespace: str, name: str) -> tuple[str, ...]:
    """Under which clients of other namespaces find a Service."""
    return f"{name}.{namespace}.{_DOMAIN}", f"{name}.{namespace}.svc", f"{name}.{namespace}"


def is_of_another(host: str, namespace: str) -> bool:
    """Whether a host, or one that a wildcard stands for, is a name of another namespace's Services by its form."""
    name = spelt(host)
    labels = name.removesuffix(f".{wire.DEFAULT_CLUSTER_DOMAIN}").split(".")
    if name.startswith("*") and f".{_DOMAIN}".endswith(name[1:]):
        return True
    # A wildcard for part of a namespace's name, such as *-team.svc.cluster.local, stands for others too.
    return len(labels) > 1 and labels[-1] == "svc" and labels[-2] != namespace


class Hosts:
    """All claims, by host."""

    def __init__(self) -> None:
        self._at: dict[str, dict[Holder, HostClaim]] = {}
        self._of: dict[Holder, dict[str, HostClaim]] = {}

    def put(self, holder: Holder, wanted: Iterable[tuple[str, HostClaim]]) -> frozenset[Holder]:
        """An object claims these hosts, and no others; the ServiceEntries for which another host may be canonical."""
        new, old = {spelt(host): claim for host, claim in wanted}, self._of.pop(holder, {})
        touched = {host: self._canonical(host) for host in {*old, *new}}
        for host in old:
            del self._at[host][holder]
            if not self._at[host]:
                del self._at[host]
        for host, claim in new.items():
            self._at.setdefault(host, {})[holder] = claim
        if new:
            self._of[holder] = new
        changed = ((before, self._canonical(host)) for host, before in touched.items())
        return frozenset(each for before, now in changed if before != now for each in (before, now) if each is not None)

    def rivals(self, holder: Holder) -> frozenset[Holder]:
        """The ServiceEntries that claim a host which the object claims, of its namespace; of all if it is a Service."""
        claims = (claim for host in self._of.get(holder, {}) for claim in self._at[host].values())
        others = (claim.holder for claim in claims if claim.holder != holder and not claim.is_service)
        return frozenset(each for each in others if holder.kind == "Service" or each.namespace == holder.namespace)

    def taken_by(self, host: str, holder: Holder) -> HostClaim | None:
        """Who has the host in the entry's place; None if it has it itself, in its own namespace at least."""
        claims = self._at.get(spelt(host), {})
        mine = claims.get(holder)
        for claim in sorted(claims.values(), key=lambda claim: (not claim.is_service, claim.age)):
            is_home = claim.holder.namespace == holder.namespace
            if claim.is_service and (not is_home or spelt(host) == names_of_service(*claim.holder.key)[0]):
                return claim
            if not claim.is_service and is_home and mine is not None and claim.age < mine.age:
                return claim
        return None

    def is_canonical(self, host: str, holder: Holder) -> bool:
        """Whether clients of namespaces that have no such host themselves mean this one: the oldest seen by all."""
        return self._canonical(spelt(host)) == holder

    def _canonical(self, host: str) -> Holder | None:
        """The oldest that all may see among those that have the host in their namespace; no entry beside a Service."""
        claims = self._at.get(host, {}).values()
        if any(claim.is_service for claim in claims):
            return None
        seen: set[str] = set()
        for claim in sorted(claims, key=lambda claim: claim.age):
            if claim.holder.namespace not in seen and not claim.is_private:
                return claim.holder
            seen.add(claim.holder.namespace)
        return None
