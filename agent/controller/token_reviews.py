"""Who is calling, on a cluster: its API server says whose a token is.

It knows what no signature tells: that the pod a token is bound to still exists. What it said of a token is believed
for some seconds, as the API server itself does; what it refused is asked again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from agent.controller.auth import Caller
from agent.errors import UnauthenticatedError, UnavailableError, WeftError
from agent.kube import Cluster, Kind, Object
from agent.wire import TOKEN_AUDIENCE

TOKEN_REVIEW: Final = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews", is_namespaced=False)
BELIEVED_SECONDS: Final = 10.0
MOST_BELIEVED: Final = 10_000  # tokens; the oldest is asked for again
AT_ONCE: Final = 20  # requests to the API server: callers cannot make us burden it with more
_ACCOUNT: Final = "system:serviceaccount:"
_EXTRA: Final = "authentication.kubernetes.io/"


class TokenReviews:
    """Asks the API server, and remembers its answers; `clock` gives seconds that never go back."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._believed: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def caller(self, token: str) -> Caller:
        """As auth.Authenticator."""
        digest = hashlib.sha256(token.encode()).digest()  # nobody reads tokens out of our memory
        until, caller = self._believed.get(digest, (0.0, None))
        if caller is not None and self._clock() < until:
            return caller
        asked_at = self._clock()
        found = caller_of(await self._review(token))
        self._believed[digest] = asked_at + BELIEVED_SECONDS, found
        self._believed.move_to_end(digest)
        if len(self._believed) > MOST_BELIEVED:
            self._believed.popitem(last=False)
        return found

    async def _review(self, token: str) -> Object:
        asked = {"metadata": {}, "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]}}
        async with self._turns:
            try:
                return await self._cluster.create(TOKEN_REVIEW, asked)
            except WeftError as exc:  # whatever it is, the caller has no fault in it
                raise UnavailableError(f"the API server reviews no tokens: {exc}") from exc


def caller_of(review: Mapping[str, object]) -> Caller:
    """The service account that a reviewed token speaks for; UnauthenticatedError if the API server does not say so."""
    status = review.get("status")
    if not isinstance(status, Mapping) or status.get("authenticated") is not True:
        reason = status.get("error") if isinstance(status, Mapping) else None
        raise UnauthenticatedError(f"the API server does not know the token: {reason or 'it gives no reason'}")
    # An API server that knows no audiences names none, and would accept tokens that are meant for others.
    if TOKEN_AUDIENCE not in (status.get("audiences") or ()):
        raise UnauthenticatedError(f"the token is not for audience {TOKEN_AUDIENCE}")
    user = status.get("user")
    name = user.get("username") if isinstance(user, Mapping) else None
    namespace, _, account = str(name).removeprefix(_ACCOUNT).partition(":")
    if not (isinstance(name, str) and name.startswith(_ACCOUNT) and namespace and account):
        raise UnauthenticatedError("the token is not one of a service account")
    extra = user.get("extra") if isinstance(user, Mapping) else None
    return Caller(namespace, account, pod=_only(extra, "pod-name"), node=_only(extra, "node-name"))


def _only(extra: object, name: str) -> str:
    """A fact about a token; empty unless the API server gives it exactly once."""
    values = extra.get(_EXTRA + name) if isinstance(extra, Mapping) else None
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else ""
