"""Tells the author of an AuthorizationPolicy, in its status, whether node proxies enforce it as it is written."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from agent import kube
from agent.api.security import AuthorizationPolicy
from agent.controller import policies
from agent.controller.cluster import ClusterState, Key, Refused
from agent.controller.conditions import Told, brought
from agent.controller.due import Due
from agent.controller.server import Clock
from agent.errors import ConflictError, NotFoundError, WeftError

logger = logging.getLogger(__name__)


def patch(policy: AuthorizationPolicy, now: datetime) -> kube.Object | None:
    """The merge patch that brings the status up to date, None when it is; conditions of others stay."""
    shortfalls = policies.convert(policy).shortfalls
    generation = policy.metadata.generation
    if shortfalls:
        return brought(policy.status, generation, Told("UnsupportedValue", "; ".join(shortfalls)), now)
    accepted = Told("Accepted", "node proxies enforce the policy as it is written")
    return brought(policy.status, generation, accepted, now)


def patch_of_refused(refused: Refused, *, has_good_version: bool, now: datetime) -> kube.Object | None:
    """The same for a policy that cannot be used."""
    then = (
        "its last good version stays in force"
        if has_good_version
        else "all that it is for is denied until it is mended"
    )
    generation = refused.object["metadata"].get("generation")
    return brought(refused.object.get("status"), generation, Told("Invalid", f"{refused.reason}; {then}"), now)


class Statuses:
    """Writes them one after the other, while it runs. What it writes comes back as a change that touches nothing."""

    def __init__(self, cluster: kube.Cluster, state: ClusterState, clock: Clock) -> None:
        self._cluster = cluster
        self._state = state
        self._clock = clock
        self._due: Due[Key] = Due(self._everything)

    def update(self, touched: Iterable[Key]) -> None:
        """These policies have changed. Nothing is kept for a run that may never come: it looks at all of them."""
        self._due.add(touched)

    async def run(self) -> None:
        """Write for ever. A status that cannot be written is logged, and due again at the policy's next change."""
        await self._due.run(self._write)

    def _everything(self) -> list[Key]:
        refused = [key[1:] for key in self._state.refused if key[0] == kube.AUTHORIZATION_POLICY.name]
        return [*self._state.policies, *refused]

    async def _write(self, key: Key) -> None:
        policy = self._state.policies.get(key)
        refused = self._state.refused.get((kube.AUTHORIZATION_POLICY.name, *key))
        if refused is not None:
            is_good = self._state.has_good_version(kube.AUTHORIZATION_POLICY, key)
            change = patch_of_refused(refused, has_good_version=is_good, now=self._clock())
            uid = refused.object["metadata"]["uid"]
        elif policy is not None:
            change, uid = patch(policy, self._clock()), policy.metadata.uid
        else:
            return
        if change is None:
            return
        try:
            await self._cluster.patch(kube.AUTHORIZATION_POLICY, *key, change, uid=uid)
        except (NotFoundError, ConflictError):
            return  # it has gone, or is another one: the watch will tell
        except (WeftError, OSError) as exc:
            logger.error("status cannot be written", extra={"policy": "/".join(key), "reason": exc})
