"""What follows from PeerAuthentications: who must show an identity to reach a pod. Pure rules.

STRICT becomes a DENY of whoever has none. It stands in one policy that is the same for all, which
workloads list; only a workload whose ports differ gets one of its own. The narrowest scope
decides, workload before namespace before mesh, and within a scope the oldest. UNSET leaves it to
the next wider scope. DISABLE is PERMISSIVE: a node proxy accepts mutual TLS in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.empty_pb2 import Empty

from agent import wire
from agent.api.security import Mode, PeerAuthentication
from agent.controller.labels import Subject
from agent.controller.policies import selects
from agent.proto import authorization_pb2 as pb

STATIC_STRICT: Final = "istio_converted_static_strict"
STATIC_STRICT_NAME: Final = f"{wire.SYSTEM_NAMESPACE}/{STATIC_STRICT}"
_PREFIX: Final = "converted_peer_authentication_"  # no name of an object holds an underscore


def name_of(namespace: str, name: str) -> str:
    """The policy that only the workloads of this object list."""
    return f"{namespace}/{_PREFIX}{name}"


def converted_name(policy: str) -> str | None:
    """Of a policy's full name, the object that it alone comes from, as NAMESPACE/NAME; None for any other policy."""
    namespace, _, name = policy.partition("/")
    return f"{namespace}/{name.removeprefix(_PREFIX)}" if name.startswith(_PREFIX) else None


def is_of_peers(policy: str) -> bool:
    """Whether a policy of this full name comes from PeerAuthentications."""
    return policy == STATIC_STRICT_NAME or converted_name(policy) is not None


def is_wide(peer: PeerAuthentication) -> bool:
    """Whether it is for all of its namespace, or of the mesh."""
    return not peer.spec.selector.match_labels


def is_strict_by_default(wide: Iterable[PeerAuthentication], root_namespace: str = wire.SYSTEM_NAMESPACE) -> bool:
    """What holds in a namespace for workloads without a say; `wide` are those of the namespace and the mesh."""
    oldest_first = sorted(filter(is_wide, wide), key=lambda peer: peer.age)
    of_mesh = next((peer for peer in oldest_first if peer.is_of_mesh(root_namespace)), None)
    of_namespace = next((peer for peer in oldest_first if not peer.is_of_mesh(root_namespace)), None)
    is_strict = False
    for peer in (of_mesh, of_namespace):
        is_strict = _is_strict(peer.spec.mtls.mode, is_strict) if peer is not None else is_strict
    return is_strict


def governing(pod: Subject, peers: Iterable[PeerAuthentication]) -> PeerAuthentication | None:
    """The object that speaks for this pod in particular."""
    mine = [peer for peer in peers if not is_wide(peer) and governs(peer, pod)]
    return min(mine, key=lambda peer: peer.age, default=None)


def governs(peer: PeerAuthentication, pod: Subject, root_namespace: str = wire.SYSTEM_NAMESPACE) -> bool:
    """Whether the pod is in its scope. A selector reaches no further than its namespace, the root's neither."""
    is_everywhere = peer.is_of_mesh(root_namespace) and is_wide(peer)
    return selects(peer.spec.selector, peer.metadata.namespace, is_everywhere, pod)


def listed(own: PeerAuthentication | None, is_strict: bool) -> str | None:
    """The policy that a workload names.

    own: what governs this workload in particular. is_strict: what holds where it says nothing.
    """
    if own is None:
        return STATIC_STRICT_NAME if is_strict else None
    if _exceptions(own, is_strict):
        return name_of(own.metadata.namespace, own.metadata.name)
    return STATIC_STRICT_NAME if _is_strict(own.spec.mtls.mode, is_strict) else None


def convert(peer: PeerAuthentication, is_strict: bool) -> pb.Authorization | None:
    """The policy of an object whose ports differ, None for any other one."""
    ports = _exceptions(peer, is_strict)
    if not ports:
        return None
    if _is_strict(peer.spec.mtls.mode, is_strict):
        matches = [_NOBODY, pb.Match(not_destination_ports=ports)]
    else:
        matches = [pb.Match(not_principals=_NOBODY.not_principals, destination_ports=ports)]
    return _deny(peer.metadata.namespace, _PREFIX + peer.metadata.name, matches)


def static_strict() -> pb.Authorization:
    """The policy that all wholly strict workloads share."""
    return _deny(wire.SYSTEM_NAMESPACE, STATIC_STRICT, [_NOBODY])


def needs_static_strict(peers: Iterable[PeerAuthentication]) -> bool:
    """Whether any workload may come to list it."""
    return any(peer.spec.mtls.mode == "STRICT" for peer in peers)


_NOBODY: Final = pb.Match(not_principals=[pb.StringMatch(presence=Empty())])


def _deny(namespace: str, name: str, all_of: Iterable[pb.Match]) -> pb.Authorization:
    return pb.Authorization(
        name=name,
        namespace=namespace,
        scope=pb.WORKLOAD_SELECTOR,
        action=pb.DENY,
        rules=[pb.Rule(clauses=[pb.Clause(matches=[match]) for match in all_of])],
    )


def _exceptions(peer: PeerAuthentication, is_strict: bool) -> list[int]:
    """The ports for which the other holds than for the rest."""
    rest = _is_strict(peer.spec.mtls.mode, is_strict)
    return sorted(port for port, mtls in peer.spec.port_level_mtls.items() if _is_strict(mtls.mode, rest) != rest)


def _is_strict(mode: Mode, inherited: bool) -> bool:
    return inherited if mode == "UNSET" else mode == "STRICT"
