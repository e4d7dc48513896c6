"""The mesh's certificate authority on a cluster: its key is in a Secret of the system namespace.

`cacerts` is what somebody plugs in: an intermediate with its key, what vouches for it up to a root, and the root. It
comes first. Without it, `istio-ca-secret` holds a root of our own, which the first controller makes. Both are shaped
as Istio's, so that a mesh keeps its root when one takes the other's place.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agent.controller.ca import Authority, SigningKey, key_pem, self_sign
from agent.errors import ConfigError, ConflictError, NotFoundError
from agent.kube import SECRET, Cluster, Object
from agent.wire import SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)

PLUGGED_IN: Final = "cacerts"
OWN: Final = "istio-ca-secret"
CERTIFICATE: Final = "ca-cert.pem"
KEY: Final = "ca-key.pem"
CHAIN: Final = "cert-chain.pem"
ROOT: Final = "root-cert.pem"
_TYPE: Final = "istio.io/ca-root"
_LONGEST_CHAIN: Final = 10


async def load_or_create(cluster: Cluster, now: datetime) -> Authority:
    """The cluster's authority. Of several controllers that find none, one makes it, and all have the same.

    Raises ConfigError when what is there cannot be used; fails as the cluster does.
    """
    for name in (PLUGGED_IN, OWN):
        found = await _find(cluster, name)
        if found is not None:
            return read(found, now)
    made = self_sign(ec.generate_private_key(ec.SECP256R1()), now)
    try:
        await cluster.create(SECRET, _secret(made))
    except ConflictError:  # another controller was faster
        return read(await cluster.get(SECRET, SYSTEM_NAMESPACE, OWN), now)
    except NotFoundError as exc:
        raise ConfigError(f"namespace {SYSTEM_NAMESPACE} does not exist, and is where the root is kept") from exc
    logger.info("made the root of the mesh", extra={"secret": f"{SYSTEM_NAMESPACE}/{OWN}"})
    return made


async def _find(cluster: Cluster, name: str) -> Object | None:
    try:
        return await cluster.get(SECRET, SYSTEM_NAMESPACE, name)
    except NotFoundError:
        return None


def _secret(made: Authority) -> Object:
    data = {CERTIFICATE: made.root_pem.encode(), KEY: key_pem(made.key), CHAIN: b"", ROOT: made.root_pem.encode()}
    return {
        "metadata": {"name": OWN, "namespace": SYSTEM_NAMESPACE},
        "type": _TYPE,
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


def read(secret: Object, now: datetime) -> Authority:
    """The authority in a Secret; ConfigError names the key of it that cannot be used, and never shows what it holds."""
    where = f"Secret {SYSTEM_NAMESPACE}/{secret['metadata']['name']}"
    data = secret.get("data") or {}
    (signer, *_) = _certificates(data, CERTIFICATE, where)
    key = _key(data, where)
    if key.public_key() != signer.public_key():
        raise ConfigError(f"{where}: {KEY} is not the key of {CERTIFICATE}")
    roots = _certificates(data, ROOT, where) if data.get(ROOT) else (signer,)
    given = _certificates(data, CHAIN, where) if data.get(CHAIN) else ()
    intermediates, root = _path(signer, given, roots, where)
    found = Authority(key, root, intermediates, tuple(each for each in roots if each != root))
    if not now < found.expires:
        raise ConfigError(f"{where}: a certificate of its chain expired at {found.expires:%Y-%m-%d %H:%M} UTC")
    return found


def _path(
    signer: x509.Certificate, given: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...], where: str
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
            raise ConfigError(f"{where}: {CHAIN} does not lead from {CERTIFICATE} to {ROOT}")
        here = above
    return tuple(path), here


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _certificates(data: Mapping[str, object], name: str, where: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(_bytes(data, name, where)))
    except ValueError as exc:
        raise ConfigError(f"{where}: {name}: accepted are certificates as PEM: {exc}") from exc


def _key(data: Mapping[str, object], where: str) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(_bytes(data, KEY, where), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: {KEY}: accepted is a private key as PEM, without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError(f"{where}: {KEY}: accepted are ECDSA and RSA keys")
    return key


def _bytes(data: Mapping[str, object], name: str, where: str) -> bytes:
    try:
        return base64.b64decode(str(data[name]), validate=True)
    except (KeyError, binascii.Error):
        raise ConfigError(f"{where}: {name} is missing, or no base64") from None
