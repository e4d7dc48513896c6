"""Incremental discovery (delta xDS) for node proxies: what to answer to whom. No sockets here.

A Session is the state of one stream. Changes are not queued for it: it remembers only the
names that changed since its last response, and reads their content when it writes. So a slow
reader costs a set of names, never more than there are resources, and gets the latest state.

Order on a stream: new and changed policies, then addresses, then policies that went. A
workload therefore never names a policy that its proxy has not been told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from envoy.service.discovery.v3 import discovery_pb2

from agent.controller.auth import Caller
from agent.controller.resources import Catalogue, Resource
from agent.errors import ProtocolError
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

TYPES: Final = (AUTHORIZATION_TYPE, ADDRESS_TYPE)  # in the order in which they are sent
_WILDCARD: Final = "*"
_MOST_NAMES: Final = 100_000  # bounds what one proxy can make the controller remember
_SHOWN_CHARACTERS: Final = 500  # of a proxy's words about itself


@dataclass(slots=True)
class Subscription:
    """What one proxy wants of one type, and what it is still owed."""

    catalogue: Catalogue
    is_wildcard: bool = False
    names: set[str] = field(default_factory=set)  # asked for one by one
    sent: set[str] = field(default_factory=set)  # resources sent for those; unused with a wildcard
    pending: set[str] = field(default_factory=set)  # resources that may have changed
    missing: set[str] = field(default_factory=set)  # names asked for that nothing answers to
    held: dict[str, str] = field(default_factory=dict)  # versions from before a reconnect, until the first response
    owes_first: bool = True  # the first response goes out even when empty: the proxy waits for it
    revision_sent: int = 0
    nonce_sent: str = ""
    nonce_acked: str = ""
    rejections: int = 0
    last_rejection: str = ""

    def subscribe(self, names: Iterable[str]) -> None:
        for name in names:
            if name == _WILDCARD:
                self.is_wildcard = True
                self.pending |= self.catalogue.resources.keys()
            else:
                self.names.add(name)
                found = self.catalogue.lookup(name)
                self.pending |= found
                self.sent |= found
                self.missing |= set() if found else {name}
        if len(self.names) > _MOST_NAMES:
            raise ProtocolError(f"more than {_MOST_NAMES} names subscribed one by one; ask for all with '*'")

    def unsubscribe(self, names: Iterable[str]) -> None:
        gone = set(names)
        self.names -= gone
        self.missing -= gone
        kept = self._found(self.names)
        self.sent = (self.sent - self._found(gone)) | kept
        if _WILDCARD in gone:
            self.is_wildcard = False
            self.pending = kept

    def mark(self, names: Iterable[str]) -> bool:
        """Note changes; whether there is something to send now."""
        self.pending.update(names if self.is_wildcard else [name for name in names if self._is_wanted(name)])
        return bool(self.pending)

    def take(self, *, with_removals: bool) -> tuple[list[Resource], list[str]]:
        """What to send of the pending: current contents, and names that are gone."""
        changed: list[Resource] = []
        removed: list[str] = []
        left: set[str] = set()
        for name in sorted(self.pending):
            found = self.catalogue.resources.get(name)
            if found is not None:
                if self.held.get(name) != found.version:
                    changed.append(found)
            elif with_removals:
                removed.append(name)
            else:
                left.add(name)
        if with_removals:
            removed.extend(sorted(name for name in self.missing if not self.catalogue.lookup(name)))
            self.missing.clear()
        self.sent.difference_update(removed)
        self.pending = left
        self.held = {name: self.held[name] for name in left & self.held.keys()}
        return changed, removed

    def _found(self, names: Iterable[str]) -> set[str]:
        return set().union(*map(self.catalogue.lookup, names))

    def _is_wanted(self, name: str) -> bool:
        found = self.catalogue.resources.get(name)
        if found is None:
            return name in self.sent
        if not any(topic in self.names or topic in self.sent for topic in found.topics):
            return False
        # A service that was asked for before it existed brings the endpoints it has by now.
        new = self.catalogue.lookup(name) - self.sent
        self.sent |= new
        self.pending |= new
        return True


class Session:
    """One proxy's stream."""

    def __init__(self, caller: Caller, catalogues: Mapping[str, Catalogue], peer: str = "") -> None:
        """peer: where the stream comes from, in gRPC's words."""
        self.caller = caller
        self.peer = peer
        self.id = ""  # what the proxy calls itself: for people only
        self.subscriptions: dict[str, Subscription] = {}
        self.wake = asyncio.Event()
        self.fault: ProtocolError | None = None  # why the stream ends, if the proxy is at fault
        self.is_closed = False
        self.changed_at: float | None = None  # monotonic time of the oldest change not yet written
        self._catalogues = catalogues
        self._responses = 0

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Take in a request, an ACK or a NACK. Raises ProtocolError for a type that is not served."""
        catalogue = self._catalogues.get(request.type_url)
        if catalogue is None:
            raise ProtocolError(f"type {request.type_url!r} is not served; accepted are {', '.join(self._catalogues)}")
        self.id = self.id or request.node.id[:_SHOWN_CHARACTERS]
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

    def mark(self, type_url: str, names: Iterable[str]) -> bool:
        """Note changed resources; whether there is now something to send."""
        found = self.subscriptions.get(type_url)
        if found is None or not found.mark(names):
            return False
        self.wake.set()
        return True

    def next_response(self) -> tuple[str, bytes] | None:
        """Type and encoded response to write now; None when there is nothing to say.

        Nothing is said before discovery is complete: the proxy would take what is not there
        yet for removed.
        """
        if not all(catalogue.is_complete for catalogue in self._catalogues.values()):
            return None
        # Removals of a type wait while another has news; see the order at the top.
        for with_removals in (False, True):
            for type_url in TYPES:
                found = self.subscriptions.get(type_url)
                if found is None:
                    continue
                is_last = with_removals or type_url == TYPES[-1] or not self._is_owed(TYPES[-1])
                changed, removed = found.take(with_removals=is_last)
                if changed or removed or found.owes_first:
                    return type_url, self._encode(found, changed, removed)
        return None

    def close(self, fault: ProtocolError | None = None) -> None:
        """End the stream at the next opportunity."""
        self.is_closed = True
        self.fault = fault
        self.wake.set()

    def _first(self, catalogue: Catalogue, request: discovery_pb2.DeltaDiscoveryRequest) -> Subscription:
        found = Subscription(catalogue, held=dict(request.initial_resource_versions))
        self.subscriptions[request.type_url] = found
        # A first request that names nothing asks for everything (xDS, "wildcard"). A proxy that
        # wants things on demand says so by taking the wildcard back in the same breath.
        wanted = set(request.resource_names_subscribe or [_WILDCARD])
        found.subscribe(wanted.difference(request.resource_names_unsubscribe))
        # What it still holds is followed too, asked for or not: it may have changed, or gone.
        found.pending |= found.held.keys()
        if not found.is_wildcard:
            found.sent |= found.held.keys()
        return found

    def _is_owed(self, type_url: str) -> bool:
        found = self.subscriptions.get(type_url)
        return found is not None and bool(found.pending or found.owes_first)

    def _acknowledge(self, found: Subscription, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        if not request.HasField("error_detail"):
            found.nonce_acked = request.response_nonce
            return
        found.rejections += 1
        found.last_rejection = request.error_detail.message[:_SHOWN_CHARACTERS]

    def _encode(self, found: Subscription, changed: list[Resource], removed: list[str]) -> bytes:
        self._responses += 1
        found.owes_first = False
        found.revision_sent = found.catalogue.revision
        found.nonce_sent = f"{found.revision_sent}-{self._responses}"
        tail = discovery_pb2.DeltaDiscoveryResponse(
            type_url=found.catalogue.type_url,
            nonce=found.nonce_sent,
            system_version_info=str(found.revision_sent),
            removed_resources=removed,
        )
        return b"".join([*(each.encoded for each in changed), tail.SerializeToString()])
