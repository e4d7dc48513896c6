"""Checks of annotations that only some kinds, or nobody but a controller, may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.api.security import DRY_RUN_ANNOTATION, AuthorizationPolicy
from agent.api.strict import StrictObject
from agent.api.validation.remarks import Remark, error

# Istio writes these into objects that it makes of others, and trusts what they say.
_INTERNAL: Final = (
    "internal.istio.io/parents",
    "internal.istio.io/parent-namespace",
    "internal.istio.io/webhook-always-reject",
)


def reserved_annotations(resource: StrictObject) -> Iterator[Remark]:
    """Annotations of Istio's own, and a dry run of what cannot be tried."""
    path = ("metadata", "annotations")
    for name in _INTERNAL:
        if name in resource.metadata.annotations:
            yield error("not accepted: it is for Istio's own use", *path, name)
    if DRY_RUN_ANNOTATION not in resource.metadata.annotations:
        return
    if not isinstance(resource, AuthorizationPolicy):
        yield error("accepted on an AuthorizationPolicy only", *path, DRY_RUN_ANNOTATION)
    elif resource.spec.action not in ("ALLOW", "DENY"):
        yield error(
            f"not accepted with action {resource.spec.action}; only ALLOW and DENY can be tried",
            *path,
            DRY_RUN_ANNOTATION,
        )
