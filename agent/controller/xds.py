"""Incremental discovery (delta xDS) for node proxies: what to answer to whom. No sockets here.

A Session is the state of one stream. Changes are not queued for it: it remembers only the
names that changed since its last response, and reads their content when it writes. So a slow
reader costs a set of names, never more than there are resources, and gets the latest state.

Order on a stream: new and changed policies, then addresses, then policies that went or that
narrow to the workloads naming them. So no workload ever names a policy that its proxy does not
hold, which would refuse every connection, and none is let go by a policy before it names it,
which would leave it open; the latter holds for a workload too that the proxy has not confirmed,
because it may have refused it. And where a policy changes and workloads leave it, they go before
it: its new rules are not meant for them. (Two policies that swap workloads while both change
cannot be put in such an order, and only a slow reader gets both at once; policies go first then.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from typing import Final

from envoy.service.discovery.v3 import discovery_pb2

from agent.controller.abilities import understands_dry_run
from agent.controller.auth import Caller
from agent.controller.resources import Catalogue, Resource, was_wide
from agent.controller.subscription import WILDCARD, Subscription, Waits
from agent.errors import ProtocolError, WeftError
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

TYPES: Final = (AUTHORIZATION_TYPE, ADDRESS_TYPE)  # in the order in which they are sent
_MANY: Final = 1000  # resources: some 300 KiB
SHOWN_CHARACTERS: Final = 500  # of a proxy's words about itself


class Session:
    """One proxy's stream."""

    def __init__(self, caller: Caller, catalogues: Mapping[str, Catalogue], peer: str = "") -> None:
        """peer: where the stream comes from, in gRPC's words."""
        self.caller = caller
        self.peer = peer
        self.id = ""  # what the proxy calls itself: for people only
        self.subscriptions: dict[str, Subscription] = {}
        self.wake = asyncio.Event()
        self.fault: WeftError | None = None  # why the stream ends, if the proxy is at fault
        self.is_closed = False
        self.changed_at: float | None = None  # monotonic time of the oldest change not yet written
        self.awaited_since: dict[str, float] = {}  # by type, monotonic time of the first response without an answer
        self._catalogues = catalogues
        self._responses = 0
        self._takes_dry_runs = False

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Take in a request, an ACK or a NACK. Raises ProtocolError for a type that is not served."""
        catalogue = self._catalogues.get(request.type_url)
        if catalogue is None:
            raise ProtocolError(f"type {request.type_url!r} is not served; accepted are {', '.join(self._catalogues)}")
        if request.HasField("node"):
            self.id = self.id or request.node.id[:SHOWN_CHARACTERS]
            self._takes_dry_runs = understands_dry_run(request.node.metadata)
        found = self.subscriptions.get(request.type_url)
        if found is None:
            found = self._first(catalogue, request)
        else:
            found.subscribe(request.resource_names_subscribe)
            if request.resource_names_unsubscribe:
                found.unsubscribe(request.resource_names_unsubscribe)
        if request.response_nonce:
            self._acknowledge(found, request)
        self.wake.set()

    def mark(self, type_url: str, changes: Mapping[str, frozenset[str]]) -> bool:
        """Note changed resources, as Catalogue.update tells of them; whether there is now something to send."""
        found = self.subscriptions.get(type_url)
        if found is None or not found.mark(changes):
            return False
        self.wake.set()
        return True

    def next_response(self) -> tuple[str, bytes] | None:
        """Type and encoded response to write now; None when there is nothing to say.

        Nothing is said before discovery is complete: the proxy would take what is not there
        yet for removed.
        """
        if not self._is_complete:
            return None
        for each in self.subscriptions.values():
            if each.is_returning:
                each.recognise()
        policies, addresses = (self.subscriptions.get(type_url) for type_url in TYPES)
        # Again: addresses may turn out to have no news, and nothing waits for them any more.
        for is_last in (False, False, True):
            postponed: Set[str] = frozenset()
            if policies is not None and (addresses is None or not is_last):
                postponed = self._postponed(policies, addresses)
            if policies is not None and (
                answer := self._answer(policies, self._policies_wait(policies, addresses, postponed))
            ):
                return answer
            if addresses is not None and (answer := self._answer(addresses, _naming(postponed))):
                return answer
        return None

    def answered(self, request: discovery_pb2.DeltaDiscoveryRequest, now: float) -> None:
        """Note an ACK or a NACK that was received. After one of an older response the wait begins anew."""
        if not request.response_nonce:
            return
        if self.subscriptions[request.type_url].nonce_sent == request.response_nonce:
            self.awaited_since.pop(request.type_url, None)
        else:
            self.awaited_since[request.type_url] = now

    @property
    def owes_much(self) -> bool:
        """Whether the next response may be a large one."""
        return any(each.is_fresh or len(each.pending) > _MANY for each in self.subscriptions.values())

    @property
    def _is_complete(self) -> bool:
        return all(catalogue.is_complete for catalogue in self._catalogues.values())

    def close(self, fault: WeftError | None = None) -> None:
        """End the stream at the next opportunity."""
        self.is_closed = True
        self.fault = fault
        self.wake.set()

    def _first(self, catalogue: Catalogue, request: discovery_pb2.DeltaDiscoveryRequest) -> Subscription:
        found = Subscription(
            catalogue, held=dict(request.initial_resource_versions), takes_dry_runs=self._takes_dry_runs
        )
        self.subscriptions[request.type_url] = found
        if catalogue.type_url == AUTHORIZATION_TYPE:
            found.wide |= {name for name, version in found.held.items() if was_wide(version)}
        # A first request that names nothing asks for everything (xDS, "wildcard"). A proxy that
        # wants things on demand says so by taking the wildcard back in the same breath.
        wanted = set(request.resource_names_subscribe or [WILDCARD]).difference(request.resource_names_unsubscribe)
        if wanted == {WILDCARD} and (found.held or catalogue.type_url == ADDRESS_TYPE):
            found.is_wildcard = True
            found.is_fresh, found.is_returning = not found.held, bool(found.held)
            if found.is_returning and self._is_complete:  # at once: many come back together, each with a long list
                found.recognise()
            return found
        found.subscribe(wanted)
        # What it still holds is followed too, asked for or not: it may have changed, or gone.
        found.pending |= found.held.keys()
        if not found.is_wildcard:
            found.sent |= found.held.keys()
        return found

    def _answer(self, found: Subscription, waits: Waits) -> tuple[str, bytes] | None:
        if found.is_fresh:
            # No policy waits for workloads to leave it where there are none, so none of them has to wait either.
            return found.catalogue.type_url, found.take_whole()
        changed, removed = found.take(waits)
        if not (changed or removed or found.owes_first):
            return None
        return found.catalogue.type_url, self._encode(found, changed, removed)

    def _postponed(self, policies: Subscription, addresses: Subscription | None) -> Set[str]:
        """Changed policies that have to wait for workloads to leave them."""
        left = addresses.left_policies() if addresses is not None else set()
        if addresses.held if addresses is not None else self._are_addresses_owed():
            left |= policies.held.keys()
        found = ((name, policies.content(name)) for name in left & policies.pending)
        # One that becomes wide goes at once: who leaves it does so because it need not be named any more.
        return {name for name, new in found if new is not None and not new.is_wide and name not in policies.wide}

    def _policies_wait(self, policies: Subscription, addresses: Subscription | None, postponed: Set[str]) -> Waits:
        is_owed = self._are_addresses_owed()
        may_narrow = addresses is not None and not policies.wide.isdisjoint(policies.pending)
        doubtful = addresses.unconfirmed_policies() if addresses is not None and may_narrow else frozenset()

        def waits(name: str, new: Resource | None) -> bool:
            if new is None:
                return is_owed
            is_narrowing = name in policies.wide and not new.is_wide
            return name in postponed or (is_narrowing and (is_owed or name in doubtful))

        return waits

    def _are_addresses_owed(self) -> bool:
        found = self.subscriptions.get(ADDRESS_TYPE)
        if found is not None:
            return bool(found.pending or found.owes_first)
        # A proxy asks for all that it wants before it answers: until then it may yet ask for addresses.
        return not self.subscriptions[AUTHORIZATION_TYPE].is_answered

    def _acknowledge(self, found: Subscription, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        found.is_answered = True
        if not request.HasField("error_detail"):
            found.nonce_acked = request.response_nonce
            found.confirm(request.response_nonce)
            return
        found.doubt(request.response_nonce)
        found.rejections += 1
        found.last_rejection = request.error_detail.message[:SHOWN_CHARACTERS]

    def _encode(self, found: Subscription, changed: list[Resource], removed: list[str]) -> bytes:
        self._responses += 1
        found.note_sent(f"{found.catalogue.revision}-{self._responses}")
        if found.catalogue.type_url == ADDRESS_TYPE:
            found.unconfirmed.update(dict.fromkeys((each.name for each in changed), found.nonce_sent))
        return found.catalogue.response(changed, removed, found.nonce_sent)


def _naming(policies: Set[str]) -> Waits:
    """Workloads that name one of them wait."""
    return lambda _, new: new is not None and not policies.isdisjoint(new.policies)
