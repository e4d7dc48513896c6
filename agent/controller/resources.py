"""What discovery publishes: named, versioned resources, encoded once for all proxies.

A version is a hash of the content, so it means the same after a restart of the controller,
and a proxy that reconnects is sent only what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

_VERSION_DIGITS = 16  # 64 bits: enough to tell two contents of one resource apart
# Ends of the versions of policies, so that one tells, after a restart too, in which form a proxy holds it.
_FORMS = {None: "", True: "-wide", False: "-narrow"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as every proxy gets it.

    topics: the names under which it can be asked for: its own, its addresses as NETWORK/IP,
    and for an endpoint the names of its services.
    is_wide: acts on others that do not name it. Where it narrows to those that do, they have to name it before.
    is_dry_run: is to be enforced by nobody, and must not reach a proxy that does not know what that means.
    policies: of a workload, the policies that it names.
    encoded: a DeltaDiscoveryResponse that holds nothing but this resource. Messages of
    protobuf concatenate, so a response is the concatenation of its resources.
    """

    name: str
    version: str
    topics: frozenset[str]
    encoded: bytes
    is_wide: bool = False
    is_dry_run: bool = False
    policies: frozenset[str] = frozenset()


def resource(
    type_url: str,
    name: str,
    body: Message,
    *,
    aliases: Iterable[str] = (),
    topics: Iterable[str] = (),
    is_wide: bool | None = None,
    is_dry_run: bool = False,
    policies: Iterable[str] = (),
) -> Resource:
    """Encode a message. `aliases` are told to the proxy; `topics` are known only here. `is_wide` is of policies."""
    content = body.SerializeToString(deterministic=True)
    version = hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS] + _FORMS[is_wide]
    aliases = sorted(aliases)
    wrapped = discovery_pb2.Resource(name=name, version=version, aliases=aliases)
    wrapped.resource.type_url = type_url
    wrapped.resource.value = content
    encoded: bytes = discovery_pb2.DeltaDiscoveryResponse(resources=[wrapped]).SerializeToString()
    names = frozenset({name, *aliases, *topics})
    return Resource(name, version, names, encoded, bool(is_wide), is_dry_run, frozenset(policies))


def was_wide(version: str) -> bool:
    """Whether what a proxy holds in this version is wide, or may be: nobody knows of another controller's versions."""
    return not version.endswith(_FORMS[False])


class Catalogue:
    """All resources of one type, as they are now."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.is_complete = False  # set once everything that exists is here
        self.revision = 0  # counts updates; for people, not for the protocol
        self.versions: dict[str, str] = {}  # of the resources, by name
        self._resources: dict[str, Resource] = {}
        self._names_by_topic: dict[str, set[str]] = {}
        self._whole = ("", b"")

    @property
    def resources(self) -> Mapping[str, Resource]:
        return self._resources

    def response(self, changed: Iterable[Resource], removed: Iterable[str], nonce: str) -> bytes:
        """An encoded response."""
        rest: bytes = discovery_pb2.DeltaDiscoveryResponse(
            type_url=self.type_url, nonce=nonce, system_version_info=str(self.revision), removed_resources=removed
        ).SerializeToString()
        return b"".join([*(each.encoded for each in changed), rest])

    def whole(self) -> tuple[str, bytes]:
        """The response that brings everything, and its nonce: one for all who want it at this revision."""
        nonce = f"{self.revision}-whole"
        if self._whole[0] != nonce:
            self._whole = nonce, self.response((self._resources[name] for name in sorted(self._resources)), (), nonce)
        return self._whole

    def update(self, changed: Iterable[Resource], removed: Iterable[str]) -> dict[str, frozenset[str]]:
        """Take in new contents; the names of those that really differ from before, with the policies each has left."""
        touched: dict[str, frozenset[str]] = {}
        for new in changed:
            old = self._resources.get(new.name)
            if self._put(new):
                touched[new.name] = old.policies - new.policies if old is not None else frozenset()
        for name in removed:
            old = self._resources.get(name)
            if old is not None and self._drop(name):
                touched[name] = old.policies
        self.revision += bool(touched)
        return touched

    def lookup(self, topic: str) -> set[str]:
        """Names of what is meant by a topic; a service comes with its endpoints."""
        found: set[str] = set()
        open_topics = [topic]
        while open_topics:
            new = self._names_by_topic.get(open_topics.pop(), set()) - found
            found |= new
            open_topics.extend(new)
        return found

    def _put(self, new: Resource) -> bool:
        old = self._resources.get(new.name)
        if old == new:
            return False
        self._drop(new.name)
        self._resources[new.name] = new
        self.versions[new.name] = new.version
        for topic in new.topics:
            self._names_by_topic.setdefault(topic, set()).add(new.name)
        return True

    def _drop(self, name: str) -> bool:
        old = self._resources.pop(name, None)
        if old is None:
            return False
        del self.versions[name]
        for topic in old.topics:
            names = self._names_by_topic[topic]
            names.discard(name)
            if not names:
                del self._names_by_topic[topic]
        return True
