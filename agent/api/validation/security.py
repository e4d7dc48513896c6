"""Checks of PeerAuthentication."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.security import PeerAuthentication
from agent.api.validation.remarks import Remark, warning
from agent.api.validation.selectors import of_selector

_NOT_DISABLED = "read DISABLE: a node proxy turns no tunnel away, so this means PERMISSIVE"


def workloads(policy: PeerAuthentication) -> Iterator[Remark]:
    yield from of_selector(policy.spec.selector, is_written="selector" in policy.spec.model_fields_set)


def modes_that_are_not_enforced(policy: PeerAuthentication) -> Iterator[Remark]:
    """An ambient destination never turns a tunnel away."""
    if policy.spec.mtls.mode == "DISABLE":
        yield warning(_NOT_DISABLED, "spec", "mtls", "mode")
    for port, mtls in policy.spec.port_level_mtls.items():
        if mtls.mode == "DISABLE":
            yield warning(_NOT_DISABLED, "spec", "portLevelMtls", str(port), "mode")
