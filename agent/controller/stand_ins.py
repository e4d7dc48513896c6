"""What takes the place of a policy that cannot be understood and of which no good version is known.

Nobody can tell whom it meant to let in, so nobody is let in to what it is for: an
AuthorizationPolicy denies everything, a PeerAuthentication asks for an identity. Where even its
selector cannot be read, it is for its whole namespace. Pure rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.api.kubernetes import parse
from agent.api.security import DRY_RUN_ANNOTATION, UNENFORCEABLE_ANNOTATION
from agent.api.selectors import TargetReference, WorkloadSelector
from agent.errors import InvalidObjectError
from agent.kube import AUTHORIZATION_POLICY, PEER_AUTHENTICATION, Kind, Object

_DENY_ALL = {"action": "DENY", "rules": [{}]}
_STRICT = {"mtls": {"mode": "STRICT"}}


def stand_in(kind: Kind, found: Object) -> Any:
    """The policy to enforce in place of `found`; None if its author prefers none, or it is of another kind."""
    if kind not in (AUTHORIZATION_POLICY, PEER_AUTHENTICATION) or _is_not_to_be_enforced(found):
        return None
    spec = _part(found, "spec")
    if kind is AUTHORIZATION_POLICY:
        return _made(kind, found, {**_DENY_ALL, **_scope(spec)})
    return _made(kind, found, {**_STRICT, **_selector(spec)})


def _is_not_to_be_enforced(found: Object) -> bool:
    annotations = _part(_part(found, "metadata"), "annotations")
    is_opted_out = annotations.get(UNENFORCEABLE_ANNOTATION) == "allow"
    return (
        is_opted_out or annotations.get(DRY_RUN_ANNOTATION) == "true" or _part(found, "spec").get("action") == "AUDIT"
    )


def _scope(spec: Mapping[str, Any]) -> Object:
    """Selector or targets, if they can be read."""
    for field in ("targetRef", "targetRefs"):
        targets = spec.get(field)
        if targets:
            many = targets if isinstance(targets, list) else [targets]
            return {"targetRefs": many} if all(_is_readable(TargetReference, each) for each in many) else {}
    return _selector(spec)


def _selector(spec: Mapping[str, Any]) -> Object:
    selector = spec.get("selector")
    return {"selector": selector} if selector and _is_readable(WorkloadSelector, selector) else {}


def _is_readable(model: type[TargetReference] | type[WorkloadSelector], value: object) -> bool:
    try:
        model.model_validate(value)
    except ValueError:
        return False
    return True


def _made(kind: Kind, found: Object, spec: Object) -> Any:
    metadata = {key: value for key, value in _part(found, "metadata").items() if key in ("name", "namespace", "uid")}
    made = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
    try:
        return parse({**made, "spec": spec}, "stand-in")
    except InvalidObjectError:  # parts that are right apart may not go together: then its whole namespace
        return parse({**made, "spec": _DENY_ALL if kind is AUTHORIZATION_POLICY else _STRICT}, "stand-in")


def _part(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = found.get(name)
    return part if isinstance(part, Mapping) else {}
