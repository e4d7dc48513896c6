"""What one change of the cluster may alter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Key = tuple[str, str]  # namespace and name


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """An object that has an address or a host, or wants one."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Touched:
    """What one change may alter: these services, pods, AuthorizationPolicies and PeerAuthentications.

    endpoints: services whose endpoints EndpointSlices name. entries: ServiceEntries and WorkloadEntries.
    """

    services: frozenset[Key] = frozenset()
    pods: frozenset[Key] = frozenset()
    policies: frozenset[Key] = frozenset()
    peers: frozenset[Key] = frozenset()
    endpoints: frozenset[Key] = frozenset()
    entries: frozenset[Holder] = frozenset()

    def __or__(self, other: Touched) -> Touched:
        return Touched(
            self.services | other.services,
            self.pods | other.pods,
            self.policies | other.policies,
            self.peers | other.peers,
            self.endpoints | other.endpoints,
            self.entries | other.entries,
        )


NOTHING: Final = Touched()
