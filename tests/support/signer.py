"""Signs service account tokens as a cluster does, and publishes the keys to check them."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "https://kubernetes.default.svc"


class Signer:
    """One signing key with its id."""

    def __init__(self, key_id: str = "key-1") -> None:
        self.key_id = key_id
        self.key = ec.generate_private_key(ec.SECP256R1())

    def key_set(self) -> str:
        """The JWKS document of this key."""
        public = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [{**public, "kid": self.key_id, "alg": "ES256", "use": "sig"}]})

    def token(self, claims: dict[str, Any], **headers: Any) -> str:
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.key_id, **headers})


def claims_of(
    namespace: str = "istio-system",
    account: str = "weft-proxy",
    *,
    node: str = "node-1",
    pod: str = "weft-proxy-node-1",
    lifetime_seconds: float = 600,
    **changed: Any,
) -> dict[str, Any]:
    """Claims of a bound token; `changed` replaces some, and None leaves one out."""
    now = time.time()
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": ["istio-ca"],
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now + lifetime_seconds),
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": "sa-1"},
            "node": {"name": node, "uid": "node-1"},
            "pod": {"name": pod, "uid": "pod-1"},
        },
        **changed,
    }
    return {key: value for key, value in claims.items() if value is not None}
