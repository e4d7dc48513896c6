"""Keeps the Authorization resources in step with the cluster: only what a change touched is computed anew."""

from __future__ import annotations

import logging

from agent import wire
from agent.controller import peers, policies
from agent.controller.addresses import Publish
from agent.controller.cluster import ClusterState, Key, Touched
from agent.controller.resources import Resource, resource
from agent.proto import authorization_pb2

logger = logging.getLogger(__name__)


class Authorizations:
    """Owned by the task that reads the watch. Publish these before the workloads of the same change."""

    def __init__(self, state: ClusterState, publish: Publish) -> None:
        self._state = state
        self._publish = publish
        self._shortfalls: dict[Key, tuple[str, ...]] = {}

    def update(self, touched: Touched) -> None:
        """Publish what became of the touched objects."""
        changed: list[Resource] = []
        removed: list[str] = []
        for key in sorted(touched.policies):
            self._update_policy(key, changed, removed)
        for key in sorted(touched.peers):
            self._update_peer(key, changed, removed)
        if touched.peers:
            self._update_static_strict(changed, removed)
        if changed or removed:
            self._publish(wire.AUTHORIZATION_TYPE, changed, removed)

    def problems(self) -> list[str]:
        """What policies ask for and node proxies cannot enforce as it is written."""
        return [text for key, shortfalls in sorted(self._shortfalls.items()) for text in _sentences(key, shortfalls)]

    def shortfalls(self, key: Key) -> tuple[str, ...]:
        """What of one policy is not enforced as it is written."""
        return self._shortfalls.get(key, ())

    def _update_policy(self, key: Key, changed: list[Resource], removed: list[str]) -> None:
        name = "/".join(key)
        found = self._state.policies.get(key) if self._state.has_policies_of(key[0]) else None
        root = self._state.mesh.root_namespace
        outcome = policies.convert(found, root) if found is not None else policies.Outcome(None)
        self._report(key, outcome.shortfalls)
        if outcome.policy is None:
            removed.append(name)
        else:
            changed.append(_published(name, outcome.policy))

    def _update_peer(self, key: Key, changed: list[Resource], removed: list[str]) -> None:
        found = self._state.peers.get(key) if self._state.has_policies_of(key[0]) else None
        policy = peers.convert(found, self._state.is_strict_by_default(key[0])) if found is not None else None
        if found is None or policy is None:
            removed.append(peers.name_of(*key))
        else:
            changed.append(_published(peers.name_of(*key), policy))

    def _update_static_strict(self, changed: list[Resource], removed: list[str]) -> None:
        if peers.needs_static_strict(self._state.peers.values()):
            changed.append(_published(peers.STATIC_STRICT_NAME, peers.static_strict()))
        else:
            removed.append(peers.STATIC_STRICT_NAME)

    def _report(self, key: Key, shortfalls: tuple[str, ...]) -> None:
        if shortfalls == self._shortfalls.get(key, ()):
            return
        for text in _sentences(key, shortfalls):
            logger.warning("policy is not enforced as it is written", extra={"reason": text})
        self._shortfalls[key] = shortfalls
        if not shortfalls:
            del self._shortfalls[key]


def _published(name: str, policy: authorization_pb2.Authorization) -> Resource:
    is_wide = policy.scope != authorization_pb2.WORKLOAD_SELECTOR
    return resource(wire.AUTHORIZATION_TYPE, name, policy, is_wide=is_wide, is_dry_run=policy.dry_run)


def _sentences(key: Key, shortfalls: tuple[str, ...]) -> list[str]:
    return [f"AuthorizationPolicy {'/'.join(key)}: {text}" for text in shortfalls]
