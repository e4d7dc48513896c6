"""Checks of RequestAuthentication: issuers, and the keys that are written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from agent.api.request_authentication import JwtRule, RequestAuthentication
from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said, warning
from agent.api.validation.selectors import of_selector

# Members that a key of each type must have: RFC 7518, section 6, and RFC 8037, section 2.
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_NAMES: Final = ("crv",)
_BASE64URL: Final = re.compile(r"[-_A-Za-z0-9]+={0,2}")


def issuers(found: RequestAuthentication) -> Iterator[Remark]:
    yield from of_selector(found.spec.selector)
    for number, rule in enumerate(found.spec.jwt_rules):
        path = ("spec", "jwtRules", number)
        if not rule.issuer and not rule.jwks_uri:
            yield error("missing; it is required, unless there is a jwksUri", *path, "issuer")
        if rule.timeout is not None:
            yield from faulty(formats.duration(rule.timeout), *path, "timeout")
        if rule.jwks:
            yield from _key_set(rule.jwks, (*path, "jwks"))
        yield from _places(rule, path)


def _places(rule: JwtRule, path: Path) -> Iterator[Remark]:
    for number, header in enumerate(rule.from_headers):
        yield from faulty(formats.header_name(header.name), *path, "fromHeaders", number, "name")
    if rule.output_payload_to_header:
        yield from faulty(formats.header_name(rule.output_payload_to_header), *path, "outputPayloadToHeader")


def _key_set(text: str, path: Path) -> Iterator[Remark]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        reason = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        yield error(f"{said(text, 'a JSON Web Key Set')} ({reason})", *path)
        return
    keys = found.get("keys") if isinstance(found, Mapping) else None
    if not isinstance(keys, list) or not keys:
        yield error(said(text, 'a JSON Web Key Set, {"keys": [...]}, with at least one key'), *path)
        return
    said_of_them = [_key(key) for key in keys]
    say = error if all(said_of_them) else warning  # Envoy leaves out a key that it cannot use, unless it is the last
    for number, (key, wrong) in enumerate(zip(keys, said_of_them, strict=True)):
        if wrong is not None:
            yield say(f"key {number}: {wrong}", *path)
        elif "d" in key or key["kty"] == "oct":
            yield warning(f"key {number} is secret, and verifying needs public keys only", *path)


def _key(key: object) -> str | None:
    """What is wrong with a key; the values of a secret one are not told."""
    if not isinstance(key, Mapping):
        return said(key, "a JSON Web Key")
    kind = key.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return f"kty: {said(kind, ', '.join(_MEMBERS))}"
    for member in _MEMBERS[kind]:
        value = key.get(member)
        if not isinstance(value, str) or not value or (member not in _NAMES and not _is_base64url(value)):
            return f"{member}: accepted is {'a name' if member in _NAMES else 'a text in base64url'}"
    return _numbers(kind, key)


def _numbers(kind: str, key: Mapping[str, object]) -> str | None:
    """Whether the numbers make a public key."""
    public = {name: key[name] for name in ("kty", *_MEMBERS[kind])}
    try:
        if kind == "RSA":
            RSAAlgorithm.from_jwk(public)
        elif kind == "EC":
            ECAlgorithm.from_jwk(public)
    except (InvalidKeyError, ValueError) as exc:
        return f"no public key: {exc}"
    return None


def _is_base64url(value: str) -> bool:
    return _BASE64URL.fullmatch(value) is not None and len(value.rstrip("=")) % 4 != 1
