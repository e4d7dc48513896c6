"""What one proxy wants of one type of resource, and what it is still owed. Pure rules; xds.py puts them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.controller.resources import Catalogue, Resource
from agent.errors import ProtocolError

WILDCARD: Final = "*"
_MOST_NAMES: Final = 100_000  # bounds what one proxy can make the controller remember

Waits = Callable[[str, Resource | None], bool]  # whether a name, with what is to be held under it, has to wait


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
    wide: set[str] = field(default_factory=set)  # what the proxy holds, or may hold, in a form that is wide
    left: dict[str, frozenset[str]] = field(default_factory=dict)  # of pending workloads, the policies that each leaves
    unconfirmed: dict[str, str] = field(default_factory=dict)  # sent and not acknowledged, with the nonce
    whole_nonce: str = ""  # of the response that brought everything at once, until that is acknowledged
    # Of a proxy that wants everything `pending` says nothing until its first response: then it is what differs.
    is_fresh: bool = False  # it holds nothing
    is_returning: bool = False  # it holds something
    takes_dry_runs: bool = True
    is_answered: bool = False  # the proxy has said what it thinks of a response
    owes_first: bool = True  # the first response goes out even when empty: the proxy waits for it
    revision_sent: int = 0
    nonce_sent: str = ""
    nonce_acked: str = ""
    rejections: int = 0
    last_rejection: str = ""

    def subscribe(self, names: Iterable[str]) -> None:
        for name in names:
            if name == WILDCARD:
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
        if WILDCARD in gone:
            self.is_wildcard = self.is_fresh = self.is_returning = False
            self.pending = kept | self.held.keys()

    def mark(self, changes: Mapping[str, frozenset[str]]) -> bool:
        """Note changed names, each with the policies that it has left; whether there is something to send now."""
        if self.is_fresh or self.is_returning:
            return True
        names = changes.keys() if self.is_wildcard else [name for name in changes if self._is_wanted(name)]
        self.pending.update(names)
        for name in names:
            if changes[name]:
                self.left[name] = self.left.get(name, frozenset()) | changes[name]
        return bool(self.pending)

    def take(self, waits: Waits) -> tuple[list[Resource], list[str]]:
        """What to send of the pending: current contents, and names that are gone."""
        changed: list[Resource] = []
        removed: list[str] = []
        kept: set[str] = set()
        for name in sorted(self.pending):
            found = self.content(name)
            if waits(name, found):
                kept.add(name)
                continue
            if found is None:
                removed.append(name)
            elif self.held.get(name) != found.version:
                changed.append(found)
            self._note_form(name, is_wide=found is not None and found.is_wide)
        gone = {name for name in self.missing if not self.catalogue.lookup(name)}
        self.missing = {name for name in gone if waits(name, None)}
        removed.extend(sorted(gone - self.missing))
        self.sent.difference_update(removed)
        self.pending = kept
        self.held = {name: self.held[name] for name in kept & self.held.keys()}
        self.left = {name: self.left[name] for name in kept & self.left.keys()}
        return changed, removed

    def recognise(self) -> None:
        """Sort out what the proxy holds from before a reconnect: of that which is as it was, nothing is owed."""
        versions = self.catalogue.versions
        unknown = versions.keys() - self.held.keys()
        self.held = {name: held for name, held in self.held.items() if versions.get(name) != held or self._hides(name)}
        self.pending |= self.held.keys() | unknown
        self.is_returning = False

    def take_whole(self) -> bytes:
        """The response that brings everything, for a proxy that holds nothing."""
        self.is_fresh = False
        self.whole_nonce, response = self.catalogue.whole()
        self.note_sent(self.whole_nonce)
        return response

    def note_sent(self, nonce: str) -> None:
        """A response goes out with this nonce, and all that is known."""
        self.owes_first = False
        self.revision_sent = self.catalogue.revision
        self.nonce_sent = nonce

    def confirm(self, nonce: str) -> None:
        """The proxy has in force what came with this nonce."""
        if nonce == self.whole_nonce:
            self.whole_nonce = ""
        self.unconfirmed = {name: sent for name, sent in self.unconfirmed.items() if sent != nonce}

    def doubt(self, nonce: str) -> None:
        """The proxy has refused some of what came with this nonce."""
        if nonce == self.whole_nonce:
            self.unconfirmed = dict.fromkeys(self.catalogue.resources, nonce) | self.unconfirmed
            self.whole_nonce = ""

    def unconfirmed_policies(self) -> set[str]:
        """What is named by workloads of which the proxy has not said that it took them as they are."""
        found = (self.content(name) for name in (self.catalogue.resources if self.whole_nonce else self.unconfirmed))
        return set().union(*(each.policies for each in found if each is not None))

    def left_policies(self) -> set[str]:
        """What pending workloads have left, as far as is known: of those held from before a reconnect it is not."""
        return set().union(*self.left.values())

    def content(self, name: str) -> Resource | None:
        """What the proxy is to hold under a name; a dry run is nothing for one that would enforce it."""
        return None if self._hides(name) else self.catalogue.resources.get(name)

    def _hides(self, name: str) -> bool:
        if self.takes_dry_runs:
            return False
        found = self.catalogue.resources.get(name)
        return found is not None and found.is_dry_run

    def _note_form(self, name: str, *, is_wide: bool) -> None:
        (self.wide.add if is_wide else self.wide.discard)(name)

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
