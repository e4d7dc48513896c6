"""What ConfigMaps and Secrets hold, as bytes by key. Rules only."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping

from agent.errors import InvalidObjectError, NotFoundError
from agent.kube import CONFIG_MAP, Kind, Object

Keys = Callable[[Kind, str, str], Object | None]  # the object of a kind, by namespace and name


def keys_of(keys: Keys, kind: Kind, namespace: str, name: str) -> Mapping[str, bytes]:
    """The content of a ConfigMap or a Secret; NotFoundError without it."""
    found = keys(kind, namespace, name)
    if found is None:
        raise NotFoundError(f"{kind.name} {namespace}/{name} does not exist")
    try:
        if kind is CONFIG_MAP:
            texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
            return texts | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    except (binascii.Error, AttributeError, TypeError) as exc:
        raise InvalidObjectError(f"{kind.name} {namespace}/{name}: data: {exc}; accepted are texts by key") from exc
