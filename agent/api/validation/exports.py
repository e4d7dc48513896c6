"""Checks of exportTo, which says what namespaces see a resource."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.api.validation import formats
from agent.api.validation.remarks import Remark, error, said

_FIELD = ("spec", "exportTo")


def of_export(namespaces: Sequence[str], own: str, *, may_be_nobody: bool = False) -> Iterator[Remark]:
    """`own` is the resource's namespace; `may_be_nobody` lets ~ stand for nobody."""
    seen: set[str] = set()
    for number, written in enumerate(namespaces):
        namespace = own if written == "." else written
        if namespace in seen:
            yield error(f"read {written!r}, which is given already; accepted is each namespace once", *_FIELD, number)
        seen.add(namespace)
        alone = written == "*" or (written == "~" and may_be_nobody)
        if alone and len(namespaces) > 1:
            yield error(f"read {written!r} among others; accepted is {written!r} alone", *_FIELD, number)
        elif not alone and formats.name_of_label(namespace):
            yield error(said(written, "'.', '*' or a namespace's name"), *_FIELD, number)


def of_export_of_some_callers(namespaces: Sequence[str], own: str) -> Iterator[Remark]:
    """A rule for chosen callers, who are all in its own namespace, cannot be seen elsewhere."""
    for number, namespace in enumerate(namespaces):
        if namespace not in (".", own):
            yield error(said(namespace, "'.' beside a workloadSelector"), *_FIELD, number)
