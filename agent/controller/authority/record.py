"""What the controllers remember of their authority and of the roots they trust: a Secret of their own.

Whoever plugs in another authority takes the former one's key away in the same moment, and it still has to sign for a
while; and a controller that starts meanwhile has to know how far the change has come. So the authority in force is
kept here, beside what is wanted. Without the Secret a mesh has no past: what is wanted signs at once, and is trusted
alone. Rules only: rotation.py reads and writes it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.controller.authority import secret as ca_secret
from agent.controller.authority.trust import Trust, TrustedRoot
from agent.errors import ConfigError
from agent.kube import Object
from agent.wire import SYSTEM_NAMESPACE

NAME: Final = "weft-ca-record"
_ROOTS: Final = "roots.json"
_TYPE: Final = "weft.io/ca-record"


def new(trust: Trust) -> Object:
    """The Secret, when there is none."""
    return {"metadata": {"name": NAME, "namespace": SYSTEM_NAMESPACE}, "type": _TYPE, "data": _data(trust)}


def patch(stored: Object, trust: Trust) -> Object:
    """What makes the stored Secret say this; it fails if somebody else has written it meanwhile."""
    return {"metadata": {"resourceVersion": stored["metadata"]["resourceVersion"]}, "data": _data(trust)}


def read(secret: Object) -> Trust:
    """What it says; ConfigError names what cannot be read."""
    signing = ca_secret.parse(secret)
    where = f"Secret {SYSTEM_NAMESPACE}/{NAME}"
    listed = ca_secret.content(secret.get("data") or {}, _ROOTS, where)
    try:
        roots = tuple(_root(each) for each in json.loads(listed))
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ConfigError(f"{where}: {_ROOTS} is not as a controller has written it: {exc}") from exc
    if all(each.certificate != signing.root for each in roots):
        raise ConfigError(f"{where}: {_ROOTS} is without the root of the authority that signs")
    return Trust(signing, roots)


def _data(trust: Trust) -> dict[str, str]:
    roots = json.dumps([_written(each) for each in trust.roots], indent=1).encode()
    return ca_secret.encoded({**ca_secret.files(trust.signing), _ROOTS: roots})


def _written(root: TrustedRoot) -> dict[str, str]:
    certificate = root.certificate.public_bytes(serialization.Encoding.PEM).decode()
    ends = {"usedUntil": root.used_until.isoformat()} if root.used_until else {}
    return {"certificate": certificate, "since": root.since.isoformat(), **ends}


def _root(written: Any) -> TrustedRoot:
    certificate = x509.load_pem_x509_certificate(written["certificate"].encode())
    ends = written.get("usedUntil")
    return TrustedRoot(certificate, _moment(written["since"]), _moment(ends) if ends else None)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} is without a time zone")
    return moment
