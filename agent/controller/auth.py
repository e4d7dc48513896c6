"""Who is calling, and what they may have.

The only thing believed of a request is the bearer token in its `authorization` metadata: a
token of a service account for our audience, signed by the cluster. A cluster's API server says
whose it is (token_reviews.py); beside a state directory, a file has the keys. What comes out is
the caller, and every rule below is about that caller.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import jwt

from agent.errors import ForbiddenError, InvalidObjectError, UnauthenticatedError
from agent.model import Identity, Pod
from agent.wire import TOKEN_AUDIENCE

logger = logging.getLogger(__name__)

ISSUER: Final = "https://kubernetes.default.svc"
_ALGORITHM: Final = "ES256"
_LEEWAY_SECONDS: Final = 5  # clocks of the cluster's machines differ
_REQUIRED: Final = ("iss", "aud", "sub", "iat", "nbf", "exp", "kubernetes.io")
_LONGEST_TOKEN: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a verified token speaks for; `pod` and `node` are empty when it is bound to none."""

    namespace: str
    service_account: str
    pod: str = ""
    node: str = ""

    @property
    def account(self) -> str:
        return f"{self.namespace}/{self.service_account}"

    def identity(self, trust_domain: str) -> Identity:
        return Identity(self.namespace, self.service_account, trust_domain)


class Authenticator(Protocol):
    """Finds out who is calling."""

    async def caller(self, token: str) -> Caller:
        """The caller that a token proves.

        UnauthenticatedError when it proves none, UnavailableError when nobody can tell now.
        """


Keys = Mapping[str, jwt.PyJWK]  # by key id


class KeyFile:
    """A JWKS file, read again when it changes. A broken new version is logged; the last good one stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._keys: Keys = {}
        self._problem = ""

    async def caller(self, token: str) -> Caller:
        """As Authenticator."""
        return authenticate(token, self.keys())

    def keys(self) -> Keys:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                self._stamp = stamp
                self._keys = parse_keys(self._path.read_bytes(), str(self._path))
                self._problem = ""
        except (OSError, InvalidObjectError) as exc:
            self._report(str(exc))
        return self._keys

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            logger.error("token keys cannot be read, the last good ones stay", extra={"reason": problem})
        self._problem = problem


def parse_keys(content: bytes, where: str) -> Keys:
    """The signing keys of a JWKS document (RFC 7517) by id; InvalidObjectError if it is none, or has no usable key."""
    try:
        found = jwt.PyJWKSet.from_dict(json.loads(content))
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError) as exc:
        raise InvalidObjectError(f"{where}: not a JWKS document: {exc}") from exc
    return {key.key_id: key for key in found.keys if key.key_id and key.algorithm_name == _ALGORITHM}


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The one bearer token of a call's metadata; UnauthenticatedError without it, or with several."""
    found = [value for key, value in metadata if key == "authorization"]
    if len(found) != 1 or not isinstance(found[0], str):
        raise UnauthenticatedError(f"{len(found)} authorization headers; required is one: Bearer TOKEN")
    scheme, _, token = found[0].partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
        raise UnauthenticatedError("the authorization header is not of the form: Bearer TOKEN")
    return token


def authenticate(token: str, keys: Keys) -> Caller:
    """The caller that a token proves. UnauthenticatedError says what is wrong with it, never what it holds."""
    try:
        key = keys.get(jwt.get_unverified_header(token).get("kid", ""))
        if key is None:
            raise UnauthenticatedError("the token is signed with a key that is not known")
        claims: Mapping[str, object] = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=TOKEN_AUDIENCE,
            issuer=ISSUER,
            leeway=_LEEWAY_SECONDS,
            options={"require": list(_REQUIRED)},
        )
    except jwt.PyJWTError as exc:
        raise UnauthenticatedError(f"the token is not valid: {exc}") from exc
    return _caller(claims)


def _caller(claims: Mapping[str, object]) -> Caller:
    bound = claims["kubernetes.io"]
    if not isinstance(bound, Mapping):
        raise UnauthenticatedError("the token is not valid: its kubernetes.io claim is not an object")
    namespace, account = bound.get("namespace"), _claimed_name(bound, "serviceaccount")
    if not (isinstance(namespace, str) and namespace and account):
        raise UnauthenticatedError("the token is not valid: it names no service account")
    if claims["sub"] != f"system:serviceaccount:{namespace}:{account}":
        raise UnauthenticatedError("the token is not valid: its subject is another than its service account")
    return Caller(namespace, account, pod=_claimed_name(bound, "pod"), node=_claimed_name(bound, "node"))


def _claimed_name(bound: Mapping[str, object], kind: str) -> str:
    claimed = bound.get(kind)
    name = claimed.get("name") if isinstance(claimed, Mapping) else None
    return name if isinstance(name, str) else ""


def require_node_proxy(caller: Caller, trusted: Collection[str]) -> None:
    """ForbiddenError unless the caller is a node proxy: a trusted account, with a token bound to a node."""
    if caller.account not in trusted:
        raise ForbiddenError(f"service account {caller.account} is not one of a node proxy")
    if not caller.node:
        raise ForbiddenError(f"the token of {caller.account} is bound to no node")


def granted_identity(
    caller: Caller, requested: str, *, trusted: Collection[str], live_pods: Iterable[Pod], trust_domain: str
) -> Identity:
    """The identity that the caller gets a certificate for; ForbiddenError if it may not have it.

    requested: the identity asked for as a SPIFFE ID; empty for the caller's own.
    live_pods: those on the node of the caller's token. Host-network pods among them do not
    count: they are never enrolled, so no node proxy speaks for them.
    """
    own = caller.identity(trust_domain)
    wanted = Identity.parse(requested) if requested else own
    if wanted == own:
        return own
    require_node_proxy(caller, trusted)
    if wanted.trust_domain != trust_domain:
        raise ForbiddenError(f"{wanted} is not of trust domain {trust_domain}; set the node proxy's TRUST_DOMAIN to it")
    if not any(pod.identity(trust_domain) == wanted for pod in live_pods if not pod.host_network):
        raise ForbiddenError(f"no pod on node {caller.node} runs as {wanted}")
    return wanted
