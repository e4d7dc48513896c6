"""Policies without effect, or with another than their author can have meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from agent.analysis import mesh, workloads
from agent.analysis.corpus import Corpus, Entry, Finding, told, view
from agent.analysis.rules import requests_parts
from agent.api.kubernetes import Namespace
from agent.api.security import AuthorizationPolicy, PeerAuthentication
from agent.wire import SYSTEM_NAMESPACE

_Chosen = tuple[str, tuple[tuple[str, str], ...]]  # namespace and selector of a policy
_ALWAYS_THERE: Final = ("default", "kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE)
_CONSEQUENCES: Final[Mapping[str, str]] = {
    "ALLOW": "the rule allows nothing there",
    "DENY": "the rule denies whatever the rest of it matches there",
    "AUDIT": "the policy has no effect there",
    "CUSTOM": "every connection to these pods is denied",
}


def selectors(corpus: Corpus) -> Iterator[Finding]:
    """IST0127: no pod has the labels; WEFT0002: pods have, and none of them is in the mesh."""
    entries: list[Entry[AuthorizationPolicy] | Entry[PeerAuthentication]] = [
        *corpus.of(AuthorizationPolicy),
        *corpus.of(PeerAuthentication),
    ]
    for entry in entries:
        labels = entry.value.spec.selector.match_labels
        chosen = workloads.selected(corpus, entry.namespace, labels)
        if labels and not chosen and not workloads.entries(corpus, entry.namespace, labels):
            yield entry.finding("IST0127", "spec", "selector", labels=told(labels))
        elif chosen and _has_no_target(entry.value) and not _are_some_in_mesh(corpus, entry.namespace, labels):
            yield entry.finding("WEFT0002", "spec", count=len(chosen))


def of_requests(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0009: a policy for pods that asks what only a waypoint or gateway can tell."""
    for entry in corpus.of(AuthorizationPolicy):
        spec = entry.value.spec
        if spec.targets or entry.value.fails_open:
            continue
        if not _are_some_enrolled(corpus, entry.namespace, spec.selector.match_labels):
            continue
        if spec.action in ("AUDIT", "CUSTOM"):
            parts = f"action {spec.action}"
            yield entry.finding("WEFT0009", "spec", "action", parts=parts, then=_CONSEQUENCES[spec.action])
            continue
        for number, rule in enumerate(spec.rules):
            if found := requests_parts(rule):
                then = _CONSEQUENCES[spec.action]
                yield entry.finding("WEFT0009", "spec", "rules", number, parts=", ".join(found), then=then)


def overruled(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0021: a policy all of whose pods another one closes to everybody."""
    for entry in corpus.of(AuthorizationPolicy):
        if entry.value.spec.targets or entry.value.is_dry_run or entry.value.spec.action == "AUDIT":
            continue
        labels = entry.value.spec.selector.match_labels
        for other in _closing(corpus, entry.namespace, labels):
            if other is not entry and not (_is_closing(entry) and _comes_first(entry, other)):
                yield entry.finding("WEFT0021", "metadata", "name", other=other.value.full_name)
                break


def namespaces(corpus: Corpus) -> Iterator[Finding]:
    """IST0101: a namespace that a policy names and nobody has. Not said if no namespaces are among the objects."""
    if not corpus.of(Namespace):
        return
    for entry in corpus.of(AuthorizationPolicy):
        for number, rule in enumerate(entry.value.spec.rules):
            for position, origin in enumerate(rule.from_):
                source = origin.source
                for field, names in (("namespaces", source.namespaces), ("notNamespaces", source.not_namespaces)):
                    for place, name in enumerate(names):
                        if not _is_namespace(corpus, name):
                            path = ("spec", "rules", number, "from", position, "source", field, place)
                            yield entry.finding("IST0101", *path, what=f"namespace {name}", hint="")


def providers(corpus: Corpus) -> Iterator[Finding]:
    """IST0101: an authorizer that the mesh's settings do not have. Not said if nobody gave any."""
    settings = mesh.settings(corpus)
    if settings is None:
        return
    for entry in corpus.of(AuthorizationPolicy):
        provider = entry.value.spec.provider
        if provider is not None and settings.provider(provider.name) is None:
            what = f"extension provider {provider.name}"
            yield entry.finding("IST0101", "spec", "provider", "name", what=what, hint="")


def _is_namespace(corpus: Corpus, pattern: str) -> bool:
    if pattern.endswith("*"):
        return any(name.startswith(pattern[:-1]) for name in _namespaces(corpus))
    if pattern.startswith("*"):
        return any(name.endswith(pattern[1:]) for name in _namespaces(corpus))
    return pattern in _namespaces(corpus)


@view
def _namespaces(corpus: Corpus) -> frozenset[str]:
    """Those that are written, those that something is in, and those that every cluster has."""
    inhabited = {each.namespace for each in workloads.workloads(corpus)}
    return frozenset({*_ALWAYS_THERE, *inhabited, *(each.name for each in corpus.of(Namespace))})


def _are_some_in_mesh(corpus: Corpus, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a proxy enforces policies for one of the pods, its node's or its own."""
    known, key = _in_mesh(corpus), (namespace, tuple(labels.items()))
    if key not in known:
        chosen = workloads.selected(corpus, namespace, labels)
        own = any(workloads.has_own_proxy(corpus, each) for each in chosen)
        known[key] = own or _are_some_enrolled(corpus, namespace, labels)
    return known[key]


def _are_some_enrolled(corpus: Corpus, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a node proxy enforces policies for one of the pods; gateways have their own."""
    known, key = _enrolled(corpus), (namespace, tuple(labels.items()))
    if key not in known:
        chosen = workloads.selected(corpus, namespace, labels)
        known[key] = any(workloads.is_enrolled(corpus, each) and not workloads.is_gateway(each) for each in chosen)
    return known[key]


@view
def _in_mesh(corpus: Corpus) -> dict[_Chosen, bool]:
    """What is known so far: many policies are for the same pods, and looking at all of these takes time."""
    return {}


@view
def _enrolled(corpus: Corpus) -> dict[_Chosen, bool]:
    """As _in_mesh."""
    return {}


def _has_no_target(policy: AuthorizationPolicy | PeerAuthentication) -> bool:
    return not (isinstance(policy, AuthorizationPolicy) and policy.spec.targets)


def _is_closing(entry: Entry[AuthorizationPolicy]) -> bool:
    """Whether it denies every connection to its pods: a rule that asks for nothing."""
    spec = entry.value.spec
    is_plain = spec.action == "DENY" and not spec.targets and not entry.value.is_dry_run
    return is_plain and any(not (rule.from_ or rule.to or rule.when) for rule in spec.rules)


@view
def _closing_by_label(corpus: Corpus) -> Mapping[tuple[str, tuple[str, str] | None], list[Entry[AuthorizationPolicy]]]:
    """By namespace, and a label of the selector."""
    found: dict[tuple[str, tuple[str, str] | None], list[Entry[AuthorizationPolicy]]] = defaultdict(list)
    for entry in corpus.of(AuthorizationPolicy):
        if _is_closing(entry):
            labels = sorted(entry.value.spec.selector.match_labels.items())
            found[entry.namespace, labels[0] if labels else None].append(entry)
    return found


def _closing(corpus: Corpus, namespace: str, labels: Mapping[str, str]) -> Iterator[Entry[AuthorizationPolicy]]:
    """Those that close all pods of the namespace with these labels, and perhaps others."""
    known = _closing_by_label(corpus)
    for place in dict.fromkeys((namespace, SYSTEM_NAMESPACE)):
        for label in (None, *labels.items()):
            for entry in known.get((place, label), ()):
                if entry.value.spec.selector.match_labels.items() <= labels.items():
                    yield entry


def _comes_first(one: Entry[AuthorizationPolicy], other: Entry[AuthorizationPolicy]) -> bool:
    """Of two that close the same pods, which one counts; the wider one always does."""
    mine, its = one.value.spec.selector.match_labels, other.value.spec.selector.match_labels
    is_same = mine == its and one.namespace == other.namespace
    return is_same and one.name < other.name
