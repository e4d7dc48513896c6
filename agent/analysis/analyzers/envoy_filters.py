"""EnvoyFilters whose patches are ignored, or depend on the order in which others come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.api.networking.envoy_filter import ConfigPatch, EnvoyFilter
from agent.wire import SYSTEM_NAMESPACE

_REPLACEABLE: Final = ("NETWORK_FILTER", "HTTP_FILTER", "VIRTUAL_HOST")
_ALWAYS_THERE: Final = ("ROUTE_CONFIGURATION", "HTTP_ROUTE")  # nothing is added to them or taken away
_RELATIVE: Final = ("INSERT_BEFORE", "INSERT_AFTER", "REMOVE", "REPLACE")
_SIDECARS: Final = ("SIDECAR_INBOUND", "SIDECAR_OUTBOUND")


def patches(corpus: Corpus) -> Iterator[Finding]:
    """IST0151 to IST0155: operations that do nothing to such an object, or only after others."""
    for entry in corpus.of(EnvoyFilter):
        for number, patch in enumerate(entry.value.spec.config_patches):
            code = _code(patch, has_priority=entry.value.spec.priority != 0)
            if code and patch.patch is not None:
                facts = {"operation": patch.patch.operation, "apply_to": patch.apply_to}
                yield entry.finding(code, "spec", "configPatches", number, **facts)


def contexts(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0019: a patch of sidecars, where pods have none."""
    for entry in corpus.of(EnvoyFilter):
        if not _has_no_sidecars(corpus, entry):
            continue
        for number, patch in enumerate(entry.value.spec.config_patches):
            if patch.match is not None and patch.match.context in _SIDECARS:
                path = ("spec", "configPatches", number, "match", "context")
                yield entry.finding("WEFT0019", *path, context=patch.match.context)


def _code(config: ConfigPatch, *, has_priority: bool) -> str:
    operation = config.patch.operation if config.patch else ""
    if operation == "REPLACE" and config.apply_to not in _REPLACEABLE:
        return "IST0152"
    if config.apply_to in _ALWAYS_THERE and operation in ("ADD", "REMOVE"):
        return "IST0153" if operation == "ADD" else "IST0154"
    if operation in _RELATIVE and not has_priority:
        names_version = config.match and config.match.proxy and config.match.proxy.proxy_version
        return "IST0155" if names_version else "IST0151"
    return ""


def _has_no_sidecars(corpus: Corpus, entry: Entry[EnvoyFilter]) -> bool:
    """Whether all its pods are enrolled; those of the root namespace are all pods."""
    selector = entry.value.spec.workload_selector
    chosen = workloads.selected(corpus, entry.namespace, selector.labels if selector else {})
    chosen = [each for each in chosen if not workloads.is_of_cluster(each.namespace)]
    is_certain = bool(chosen) or entry.namespace != SYSTEM_NAMESPACE
    return is_certain and workloads.are_enrolled(corpus, chosen, entry.namespace)
