"""Service-account tokens of the lab: ES256, shaped like Kubernetes' bound tokens."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from agent.wire import TOKEN_AUDIENCE

ISSUER = "https://kubernetes.default.svc"
LIFETIME_SECONDS = 3600
RENEWAL_SECONDS = 600  # well before expiry, also when a renewal or two fail


@dataclass(frozen=True, slots=True)
class Bearer:
    """A name and uid, as the token's claims give them."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a token is for."""

    namespace: str
    service_account: Bearer
    pod: Bearer
    node: Bearer


def claims(subject: Subject, now: int, lifetime_seconds: int) -> dict[str, object]:
    """The claims of a bound token, of audience TOKEN_AUDIENCE."""
    account = subject.service_account
    return {
        "iss": ISSUER,
        "aud": [TOKEN_AUDIENCE],
        "iat": now,
        "nbf": now,
        "exp": now + lifetime_seconds,
        "jti": str(uuid.uuid4()),
        "sub": f"system:serviceaccount:{subject.namespace}:{account.name}",
        "kubernetes.io": {
            "namespace": subject.namespace,
            "serviceaccount": {"name": account.name, "uid": account.uid},
            "pod": {"name": subject.pod.name, "uid": subject.pod.uid},
            "node": {"name": subject.node.name, "uid": subject.node.uid},
        },
    }


class Signer:
    """Signs tokens with the lab's key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashes.Hash(hashes.SHA256())
        digest.update(public)
        self.key_id = digest.finalize().hex()[:16]

    @classmethod
    def create_at(cls, key_path: Path, jwks_path: Path) -> Signer:
        """Make a key and publish its public half as a JWKS."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = cls(key)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_secret(key_path, pem)
        jwks_path.write_text(json.dumps(signer.jwks(), indent=1))
        return signer

    def jwks(self) -> dict[str, object]:
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self.key_id, "use": "sig", "alg": "ES256"}]}

    def sign(self, subject: Subject, now: int, lifetime_seconds: int = LIFETIME_SECONDS) -> str:
        return jwt.encode(
            claims(subject, now, lifetime_seconds), self._key, algorithm="ES256", headers={"kid": self.key_id}
        )


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file that only root may read; readers see the old or the new content."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    temporary.rename(path)
