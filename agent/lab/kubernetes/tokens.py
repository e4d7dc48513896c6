"""The tokens of one pod's service account: asked of the API server, and anew when most of their life is over."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from agent.api.objects import ObjectMeta
from agent.api.pods.volumes import ProjectedToken
from agent.lab.kubernetes.writes import Token, Writes

RENEWAL = 0.8  # of a token's life, as a kubelet
_LONG_SECONDS = 3600.0


class Tokens:
    """One for each that a pod's volumes ask for."""

    def __init__(self, writes: Writes, pod: ObjectMeta, account: str, wanted: Collection[ProjectedToken]) -> None:
        self._writes = writes
        self._pod = pod
        self._account = account
        self._wanted = wanted
        self._held: dict[ProjectedToken, Token] = {}
        self._due: dict[ProjectedToken, float] = {}  # when a token is to be renewed, seconds of the epoch

    @property
    def texts(self) -> Mapping[ProjectedToken, bytes]:
        return {wanted: token.text.encode() for wanted, token in self._held.items()}

    def seconds_until_due(self) -> float:
        """Until the next is to be renewed."""
        return max(min(self._due.values(), default=time.time() + _LONG_SECONDS) - time.time(), 0.0)

    async def renew(self) -> None:
        """Get those that are missing or due; fails as Writes.token, and those that are held stay."""
        for wanted in self._wanted:
            now = time.time()
            if self._due.get(wanted, 0.0) > now:
                continue
            token = await self._writes.token(self._pod, self._account, wanted.audience, wanted.expiration_seconds)
            self._held[wanted] = token
            self._due[wanted] = due(now, token.expires_at)


def due(now: float, expires_at: float) -> float:
    """When to renew a token that was issued now."""
    return now + RENEWAL * (expires_at - now)
