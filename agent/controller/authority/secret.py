"""An authority as a Secret of the system namespace holds it: what is accepted, and how ours is written.

`cacerts` is what somebody plugs in: an intermediate with its key, what vouches for it up to a root, and the root. It
comes first. Without it, `istio-ca-secret` holds a root of our own. Both are shaped as Istio's, so that a mesh keeps its
root when one takes the other's place; in `cacerts` the names that cert-manager gives are accepted too. Rules only:
rotation.py reads and writes Secrets.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agent.controller.authority.ca import Authority, SigningKey, accepted_key, key_pem
from agent.errors import ConfigError
from agent.kube import Object
from agent.wire import SYSTEM_NAMESPACE

PLUGGED_IN: Final = "cacerts"
OWN: Final = "istio-ca-secret"
_OWN_TYPE: Final = "istio.io/ca-root"
_LONGEST_CHAIN: Final = 10


@dataclass(frozen=True, slots=True)
class _Names:
    """Under which key of a Secret each part is."""

    certificate: str
    key: str
    chain: str
    root: str


_ISTIOS: Final = _Names("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
# Its certificate comes with what vouches for it, in one file.
_CERT_MANAGERS: Final = _Names("tls.crt", "tls.key", "tls.crt", "ca.crt")


def own(made: Authority) -> Object:
    """The Secret of a root that we have made."""
    return {
        "metadata": {"name": OWN, "namespace": SYSTEM_NAMESPACE},
        "type": _OWN_TYPE,
        "data": encoded({**files(made), _ISTIOS.chain: b""}),
    }


def files(authority: Authority) -> dict[str, bytes]:
    """Its parts, as `parse` reads them again; of the roots only the one that vouches for it."""
    chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in authority.intermediates)
    root = authority.root.public_bytes(serialization.Encoding.PEM)
    certificate = authority.signer.public_bytes(serialization.Encoding.PEM)
    return {
        _ISTIOS.certificate: certificate,
        _ISTIOS.key: key_pem(authority.key),
        _ISTIOS.chain: chain,
        _ISTIOS.root: root,
    }


def encoded(parts: Mapping[str, bytes]) -> dict[str, str]:
    """As a Secret's data are."""
    return {name: base64.b64encode(value).decode() for name, value in parts.items()}


def read(secret: Object, now: datetime) -> Authority:
    """The authority in a Secret, if it may sign now.

    ConfigError names the key of it that cannot be used and what is wrong, and never shows what it holds.
    """
    found = parse(secret)
    names, where = _names(_data(secret)), _where(secret)
    path = [(names.certificate, found.signer), *((names.chain, each) for each in found.intermediates[1:])]
    for depth, (name, each) in enumerate([*path, (names.root, found.root)] if found.intermediates else path):
        if problem := _problem(each, depth, now):
            raise ConfigError(f"{where}: {name}: {_subject(each)} {problem}")
    return found


def parse(secret: Object) -> Authority:
    """The same, whether or not it may sign: ConfigError when the parts do not fit together."""
    data, where = _data(secret), _where(secret)
    names = _names(data)
    (signer, *_) = certificates(data, names.certificate, where)
    key = _key(data, names.key, where)
    if key.public_key() != _public_key(signer, f"{where}: {names.certificate}"):
        raise ConfigError(f"{where}: {names.key} is not the key of {names.certificate}")
    if not data.get(names.root) and not _issued(signer, signer):
        raise ConfigError(f"{where}: {names.root} is missing, and {names.certificate} is no root itself")
    roots = certificates(data, names.root, where) if data.get(names.root) else (signer,)
    given = certificates(data, names.chain, where) if data.get(names.chain) else ()
    intermediates, root = _path(signer, given, roots, f"{where}: {names.chain} does not lead to {names.root}")
    others = dict.fromkeys(each for each in roots if each != root)
    return Authority(key, root, intermediates, tuple(others))


def _public_key(certificate: x509.Certificate, where: str) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"{where}: its key cannot be read: {exc}") from exc


def _where(secret: Object) -> str:
    return f"Secret {SYSTEM_NAMESPACE}/{secret['metadata']['name']}"


def _data(secret: Object) -> Mapping[str, object]:
    return secret.get("data") or {}


def _names(data: Mapping[str, object]) -> _Names:
    is_istios = _ISTIOS.certificate in data or _CERT_MANAGERS.certificate not in data
    return _ISTIOS if is_istios else _CERT_MANAGERS


def _path(
    signer: x509.Certificate, given: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...], failure: str
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    """The certificates from the signer up to a root, and that root; the file may hold them in any order."""
    path: list[x509.Certificate] = []
    here = signer
    while here not in roots:
        path.append(here)
        root = next((each for each in roots if _issued(each, here)), None)
        if root is not None:
            return tuple(path), root
        above = next((each for each in given if each not in path and _issued(each, here)), None)
        if above is None or len(path) == _LONGEST_CHAIN:
            raise ConfigError(f"{failure}: nobody there has signed the certificate of {_subject(here)}")
        here = above
    return tuple(path), here


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _problem(certificate: x509.Certificate, depth: int, now: datetime) -> str:
    """Why a certificate may not sign what is so many certificates below it, counted without the leaf; empty if it may.

    RFC 5280, 4.2.1.3 and 4.2.1.9.
    """
    constraints = _constraints(certificate)
    if constraints is None:
        return "is not the certificate of an authority"
    if constraints.path_length is not None and constraints.path_length < depth:
        return f"lets {constraints.path_length} authorities be below it, and has {depth}"
    try:
        accepted_key(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm) as exc:
        return f"has a weak key: {exc}"
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now >= certificate.not_valid_after_utc:
        return f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    """None if it may not sign certificates at all."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        with contextlib.suppress(x509.ExtensionNotFound):
            if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
                return None
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
    return found if found.ca else None


def _subject(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string()[:200])


def certificates(data: Mapping[str, object], name: str, where: str) -> tuple[x509.Certificate, ...]:
    """Those in one part of a Secret, at least one."""
    try:
        return tuple(x509.load_pem_x509_certificates(content(data, name, where)))
    except ValueError as exc:
        raise ConfigError(f"{where}: {name}: accepted are certificates as PEM: {exc}") from exc


def _key(data: Mapping[str, object], name: str, where: str) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(content(data, name, where), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: {name}: accepted is a private key as PEM, without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError(f"{where}: {name}: accepted are ECDSA and RSA keys")
    return key


def content(data: Mapping[str, object], name: str, where: str) -> bytes:
    """One part of a Secret; ConfigError without it."""
    try:
        return base64.b64decode(str(data[name]), validate=True)
    except (KeyError, binascii.Error):
        raise ConfigError(f"{where}: {name} is missing, or no base64") from None
