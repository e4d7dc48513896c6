"""Checks of what a resource applies to."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.selectors import NetworkingSelector, WorkloadSelector
from agent.api.validation.remarks import Remark, error, said, warning

_SELECTS_ALL = "has no labels, so that it selects all workloads of the namespace; leave it out, or name labels"


def of_selector(
    selector: WorkloadSelector | None, *, is_written: bool = True, field: str = "selector"
) -> Iterator[Remark]:
    """`is_written`: whether the author wrote it, and it is not what stands for an absent one."""
    if selector is not None and is_written and not selector.match_labels:
        yield warning(_SELECTS_ALL, "spec", field)


def of_networking_selector(selector: NetworkingSelector | None) -> Iterator[Remark]:
    """That of networking.istio.io, whose schema leaves keys of labels to a check."""
    if selector is None:
        return
    if not selector.labels:
        yield warning(_SELECTS_ALL, "spec", "workloadSelector")
    for key in selector.labels:
        if not key or "*" in key:
            yield error(said(key, "a label's key, without a wildcard"), "spec", "workloadSelector", "labels", key)
