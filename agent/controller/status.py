"""Tells the author of an AuthorizationPolicy, in its status, whether node proxies enforce it as it is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime

from agent import kube
from agent.api.security import AuthorizationPolicy
from agent.controller import policies
from agent.controller.cluster import ClusterState, Key, Refused
from agent.controller.server import Clock
from agent.errors import ConflictError, NotFoundError, WeftError

logger = logging.getLogger(__name__)

_CONDITION = "ZtunnelAccepted"  # Istio's name for what node proxies make of a policy


def patch(policy: AuthorizationPolicy, now: datetime) -> kube.Object | None:
    """The merge patch that brings the status up to date, None when it is; conditions of others stay."""
    shortfalls = policies.convert(policy).shortfalls
    generation = policy.metadata.generation
    if shortfalls:
        return _brought(policy.status, generation, "UnsupportedValue", "; ".join(shortfalls), now)
    return _brought(policy.status, generation, "Accepted", "node proxies enforce the policy as it is written", now)


def patch_of_refused(refused: Refused, *, has_good_version: bool, now: datetime) -> kube.Object | None:
    """The same for a policy that cannot be used."""
    then = (
        "its last good version stays in force"
        if has_good_version
        else "all that it is for is denied until it is mended"
    )
    generation = refused.object["metadata"].get("generation")
    return _brought(refused.object.get("status"), generation, "Invalid", f"{refused.reason}; {then}", now)


def _brought(status: object, generation: object, reason: str, message: str, now: datetime) -> kube.Object | None:
    accepted = "True" if reason == "Accepted" else "False"
    wanted: kube.Object = {"type": _CONDITION, "status": accepted, "reason": reason, "message": message}
    if generation:
        wanted["observedGeneration"] = generation
    before = status.get("conditions") if isinstance(status, dict) else None
    conditions = [each for each in before or [] if isinstance(each, dict)]
    mine = next((each for each in conditions if each.get("type") == _CONDITION), {})
    if wanted.items() <= mine.items():
        return None
    is_as_it_was = mine.get("status") == wanted["status"]
    since = mine.get("lastTransitionTime") if is_as_it_was else None
    others = [each for each in conditions if each.get("type") != _CONDITION]
    stamped = {**wanted, "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"status": {"conditions": [*others, stamped]}}


class Statuses:
    """Writes them one after the other, while it runs. What it writes comes back as a change that touches nothing."""

    def __init__(self, cluster: kube.Cluster, state: ClusterState, clock: Clock) -> None:
        self._cluster = cluster
        self._state = state
        self._clock = clock
        self._due: dict[Key, None] = {}
        self._is_running = False
        self._wake = asyncio.Event()

    def update(self, touched: Iterable[Key]) -> None:
        """These policies have changed. Nothing is kept for a run that may never come: it looks at all of them."""
        if self._is_running:
            self._due |= dict.fromkeys(touched)
            self._wake.set()

    async def run(self) -> None:
        """Write for ever. A status that cannot be written is logged, and due again at the policy's next change."""
        self._is_running = True
        refused = [key[1:] for key in self._state.refused if key[0] == kube.AUTHORIZATION_POLICY.name]
        self.update((*self._state.policies, *refused))
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._due:
                    key = next(iter(self._due))
                    del self._due[key]
                    await self._write(key)
        finally:
            self._is_running = False
            self._due.clear()

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
