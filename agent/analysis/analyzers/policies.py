"""Policies without effect."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.api.security import AuthorizationPolicy, PeerAuthentication, SecurityObject


def selectors(corpus: Corpus) -> Iterator[Finding]:
    """IST0127: no pod has the labels; WEFT0002: pods have, and none of them is in the mesh."""
    entries: list[Entry[AuthorizationPolicy] | Entry[PeerAuthentication]] = [
        *corpus.of(AuthorizationPolicy),
        *corpus.of(PeerAuthentication),
    ]
    for entry in entries:
        labels = entry.value.spec.selector.match_labels
        chosen = list(workloads.selected(corpus, entry.namespace, labels))
        if labels and not chosen:
            told = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
            yield entry.finding("IST0127", "spec", "selector", labels=told)
        elif chosen and _has_no_target(entry.value) and not any(workloads.is_enrolled(corpus, each) for each in chosen):
            yield entry.finding("WEFT0002", "spec", count=len(chosen))


def _has_no_target(policy: SecurityObject) -> bool:
    return not (isinstance(policy, AuthorizationPolicy) and policy.spec.targets)
