"""Who has an address, and what becomes of the others that want it.

A pod, a node and a Service have their addresses, whoever wrote them down first: nothing that an
entry says changes where traffic to them goes. Between entries the oldest has the address. One
that comes later and would give it another meaning has it for clients of its own namespace only,
or not at all; what is merely an endpoint at that address stays one, but the address does not
lead to it. Pure rules, and the index that they are asked of.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from agent.controller.touched import Holder


class Role(enum.Enum):
    """As what an address is claimed."""

    POD = "pod"
    HOST = "host"  # of a node, or of a pod in its node's network: many share it
    SERVICE = "service"
    FRONT = "front"  # of a Service's load balancer
    VIRTUAL = "virtual"  # of a ServiceEntry: leads to its endpoints
    WORKLOAD = "workload"  # of an entry: leads to a workload, which is at it
    ENDPOINT = "endpoint"  # no claim: an endpoint is at it, and nothing else is said of it


@dataclass(frozen=True, slots=True)
class Claim:
    """One object's claim to one address.

    age: of the object, the smallest is the oldest. is_assigned: we gave it this address.
    is_tunnelled: the workload is in the mesh. is_private: made for clients of its own namespace only.
    """

    holder: Holder
    role: Role
    age: tuple[str, ...] = ()
    is_assigned: bool = False
    is_tunnelled: bool = False
    is_private: bool = False

    @property
    def rank(self) -> tuple[bool, tuple[str, ...], Holder]:
        # Nobody takes an address that was given to another by writing it down, however old he is.
        return not self.is_assigned, self.age, self.holder

    def is_before(self, other: Claim) -> bool:
        return self.rank < other.rank


class Standing(enum.Enum):
    """What a claim is worth."""

    OWN = "own"
    AT_HOME = "at home"  # for clients of its own namespace
    SHARED = "shared"  # an endpoint is there, but the address does not lead to it
    POD = "pod"  # a pod is there, and is the endpoint
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Verdict:
    """to: the claim that is in the way, if there is one."""

    standing: Standing
    to: Claim | None = None


class Contest:
    """All claims to one address; it judges each of them without looking at all others again."""

    def __init__(self, claims: Collection[Claim]) -> None:
        ranked = sorted(claims, key=lambda claim: claim.rank)
        self._pod = _first(claims, Role.POD)
        self._service = _first(claims, Role.SERVICE)
        self._shared = _first(claims, Role.FRONT, Role.HOST)
        virtual = [claim for claim in ranked if claim.role is Role.VIRTUAL]
        workloads = [claim for claim in ranked if claim.role is Role.WORKLOAD]
        self._virtual, self._workloads = _by_namespace(virtual), _by_namespace(workloads)
        self._public = _by_namespace(claim for claim in virtual if not claim.is_private)
        self._tunnelled = _by_namespace(claim for claim in workloads if claim.is_tunnelled)

    def judge(self, claim: Claim) -> Verdict:
        """What a claim is worth."""
        return self._of_virtual(claim) if claim.role is Role.VIRTUAL else self._of_workload(claim)

    def _of_virtual(self, claim: Claim) -> Verdict:
        """Of a ServiceEntry's claim to an address of its own."""
        if (holder := self._pod or self._service or self._shared) is not None:
            return Verdict(Standing.LOST, holder)
        home = claim.holder.namespace
        first, mine = _first_of(self._virtual), self._virtual.get(home)
        # What we have given, or are to give, is nobody else's, not even at home.
        if first is not None and (first.is_assigned or claim.is_assigned) and _is_before(first, claim):
            return Verdict(Standing.LOST, first)
        for other in (mine, _abroad(self._tunnelled, home)):
            if _is_before(other, claim):
                return Verdict(Standing.LOST, other)
        rival = None if claim.is_private else _abroad(self._public, home)
        return Verdict(Standing.AT_HOME, rival) if _is_before(rival, claim) else Verdict(Standing.OWN)

    def _of_workload(self, claim: Claim) -> Verdict:
        """Of what an entry says is at the address."""
        home = claim.holder.namespace
        if self._pod is not None:
            is_mine = claim.holder.kind == "ServiceEntry" and self._pod.holder.namespace == home
            return Verdict(Standing.POD if is_mine else Standing.LOST, self._pod)
        if self._service is not None:
            return Verdict(Standing.LOST, self._service)
        if claim.role is Role.ENDPOINT or self._shared is not None:
            return Verdict(Standing.SHARED, None if claim.role is Role.ENDPOINT else self._shared)
        if _is_before(first := _first_of(self._workloads), claim):
            return Verdict(Standing.SHARED, first)
        # A virtual address of another namespace would be without effect where the address leads to a workload.
        abroad = _abroad(self._virtual, home)
        if abroad is not None and (not claim.is_tunnelled or _is_before(abroad, claim)):
            return Verdict(Standing.SHARED, abroad)
        return Verdict(Standing.OWN)


_ByNamespace = dict[str, Claim]  # the first of each, in the order of their ranks


def _by_namespace(ranked: Iterable[Claim]) -> _ByNamespace:
    found: _ByNamespace = {}
    for claim in ranked:
        found.setdefault(claim.holder.namespace, claim)
    return found


def _first_of(claims: _ByNamespace) -> Claim | None:
    return next(iter(claims.values()), None)


def _abroad(claims: _ByNamespace, home: str) -> Claim | None:
    """The first one of another namespace."""
    return next((claim for namespace, claim in claims.items() if namespace != home), None)


def _is_before(other: Claim | None, claim: Claim) -> bool:
    """Whether it is another object's, and comes first."""
    return other is not None and other.holder != claim.holder and other.is_before(claim)


def _first(claims: Iterable[Claim], *roles: Role) -> Claim | None:
    """In the order of the roles, and of the holders."""
    found = [claim for claim in claims if claim.role in roles]
    return min(found, key=lambda claim: (roles.index(claim.role), claim.holder), default=None)


class Claims:
    """All claims, by address. Addresses are in the form that `ipaddress` gives them."""

    def __init__(self) -> None:
        self._at: dict[str, set[Claim]] = {}
        self._of: dict[Holder, frozenset[tuple[str, Claim]]] = {}
        self._contests: dict[str, Contest] = {}  # of addresses that somebody has asked of since they last changed

    def put(self, holder: Holder, wanted: Iterable[tuple[str, Claim]]) -> frozenset[Claim]:
        """An object claims these addresses, and no others; the claims of others that are worth something else now."""
        new, old = frozenset(wanted), self._of.get(holder, frozenset())
        addresses = {address for address, _ in old ^ new}
        before = {address: self._worth(address, holder) for address in addresses}
        for address, claim in old - new:
            self._at[address].discard(claim)
            if not self._at[address]:
                del self._at[address]
        for address, claim in new - old:
            self._at.setdefault(address, set()).add(claim)
        self._of[holder] = new
        if not new:
            del self._of[holder]
        for address in addresses:
            self._contests.pop(address, None)
        after = ((address, self._worth(address, holder)) for address in addresses)
        return frozenset(
            claim for address, worth in after for claim, now in worth.items() if now != before[address][claim]
        )

    def at(self, address: str) -> Collection[Claim]:
        return self._at.get(address, ())

    def judge(self, address: str, claim: Claim) -> Verdict:
        """What a claim to an address is worth."""
        contest = self._contests.get(address)
        if contest is None:
            contest = self._contests[address] = Contest(self.at(address))
        return contest.judge(claim)

    def is_had(self, address: str, holder: Holder) -> bool:
        """Whether anybody else has to do with an address."""
        return any(claim.holder != holder for claim in self.at(address))

    def pods_at(self, holder: Holder) -> Iterator[Holder]:
        """The pods at addresses that an object claims."""
        for address in {address for address, _ in self._of.get(holder, ())}:
            yield from (claim.holder for claim in self.at(address) if claim.role is Role.POD)

    def _worth(self, address: str, holder: Holder) -> dict[Claim, Verdict]:
        """Of the claims of all others that can be judged."""
        others = [each for each in self.at(address) if each.holder != holder and each.role in _JUDGED]
        return {claim: self.judge(address, claim) for claim in others}


_JUDGED = (Role.VIRTUAL, Role.WORKLOAD, Role.ENDPOINT)
