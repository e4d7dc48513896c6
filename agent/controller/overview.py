"""What the debug port says of each policy: its scope, and which resource node proxies have of it. Pure rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from agent.api.security import AuthorizationPolicy, PeerAuthentication
from agent.controller import peers, policies
from agent.controller.cluster import ClusterState, Key
from agent.controller.resources import Resource

Json = dict[str, object]


def policy_rows(
    state: ClusterState, shortfalls_of: Callable[[Key], tuple[str, ...]], published: Mapping[str, Resource]
) -> list[Json]:
    """Every AuthorizationPolicy and PeerAuthentication, by kind and name. `published`: Authorization resources."""
    return [
        {**row, "version": found.version if (found := published.get(str(row["resource"]))) is not None else None}
        for row in _rows(state, shortfalls_of)
    ]


def _rows(state: ClusterState, shortfalls_of: Callable[[Key], tuple[str, ...]]) -> Iterator[Json]:
    root = state.mesh.root_namespace
    for key, policy in sorted(state.policies.items()):
        is_sent = policies.is_sent(policy)
        yield {
            "kind": "AuthorizationPolicy",
            "namespace": key[0],
            "name": key[1],
            "action": policy.spec.action,
            "scope": _scope(policy, policies.is_listed(policy), root),
            "dry_run": policy.is_dry_run,
            "shortfalls": list(shortfalls_of(key)),
            "resource": "/".join(key) if is_sent else None,
        }
    for key, peer in sorted(state.peers.items()):
        yield {
            "kind": "PeerAuthentication",
            "namespace": key[0],
            "name": key[1],
            "action": peer.spec.mtls.mode,
            "scope": _scope(peer, not peers.is_wide(peer), root),
            "dry_run": False,
            "shortfalls": [],
            "resource": _resource_of(peer, state.is_strict_by_default(key[0])),
        }


def _scope(policy: AuthorizationPolicy | PeerAuthentication, is_for_some: bool, root_namespace: str) -> str:
    if is_for_some:
        return "workloads"
    return "mesh" if policy.is_of_mesh(root_namespace) else "namespace"


def _resource_of(peer: PeerAuthentication, is_strict: bool) -> str | None:
    """The policy of its own that it has, or the one that all strict workloads share, or none."""
    if peers.convert(peer, is_strict) is not None:
        return peers.name_of(peer.metadata.namespace, peer.metadata.name)
    return peers.STATIC_STRICT_NAME if peer.spec.mtls.mode == "STRICT" else None
