"""NetworkPolicies that close the mesh's own port."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Entry, Finding, view
from agent.analysis.workloads import Workload
from agent.api.cluster_network import EgressAllowed, IngressAllowed, NetworkPolicy, NetworkPort
from agent.wire import HBONE_PORT

Direction = Literal["Ingress", "Egress"]


def tunnels(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0018: ports are open to enrolled pods, or from them, and the one that the mesh carries them on is not."""
    for entry in corpus.of(NetworkPolicy):
        for direction in entry.value.spec.directions:
            rules = _rules(entry, direction)
            if not any(_names_ports(rule, direction) for rule in rules):
                continue  # closed altogether, or open
            chosen = [each for each in _chosen(corpus, entry) if workloads.is_enrolled(corpus, each)]
            shut = next((each for each in chosen if not _is_open(corpus, each, direction)), None)
            if shut is not None:
                field, pod = direction.lower(), shut.entry.name
                yield entry.finding("WEFT0018", "spec", field, direction=_WORDS[direction], pod=pod)


_WORDS: Mapping[Direction, str] = {"Ingress": "connections to", "Egress": "connections from"}


def _is_open(corpus: Corpus, workload: Workload, direction: Direction) -> bool:
    """What one policy allows, no other takes back."""
    return any(
        _opens(rule) for entry in _by_workload(corpus)[direction].get(workload, ()) for rule in _rules(entry, direction)
    )


def _opens(rule: IngressAllowed | EgressAllowed) -> bool:
    return not rule.ports or any(_covers(port) for port in rule.ports)


def _covers(port: NetworkPort) -> bool:
    if port.protocol != "TCP" or port.port is None:
        return port.protocol == "TCP"
    if isinstance(port.port, str):
        return False  # the name of a container's port; no container has the mesh's
    return port.port <= HBONE_PORT <= (port.end_port or port.port)


def _names_ports(rule: IngressAllowed | EgressAllowed, direction: Direction) -> bool:
    """Whether it lets something through by TCP ports; outgoing to pods, which may be in the mesh."""
    if isinstance(rule, EgressAllowed) and (not rule.to or all(peer.ip_block for peer in rule.to)):
        return False
    return any(port.protocol == "TCP" for port in rule.ports)


def _rules(entry: Entry[NetworkPolicy], direction: Direction) -> Sequence[IngressAllowed | EgressAllowed]:
    return entry.value.spec.ingress if direction == "Ingress" else entry.value.spec.egress


@view
def _by_workload(corpus: Corpus) -> Mapping[Direction, Mapping[Workload, Sequence[Entry[NetworkPolicy]]]]:
    """The policies that close a direction of each pod but for what they allow."""
    found: dict[Direction, dict[Workload, list[Entry[NetworkPolicy]]]] = {
        "Ingress": defaultdict(list),
        "Egress": defaultdict(list),
    }
    for entry in corpus.of(NetworkPolicy):
        for workload in _chosen(corpus, entry):
            for direction in entry.value.spec.directions:
                found[direction][workload].append(entry)
    return found


def _chosen(corpus: Corpus, entry: Entry[NetworkPolicy]) -> list[Workload]:
    selector = entry.value.spec.pod_selector
    return [
        each
        for each in workloads.selected(corpus, entry.namespace, selector.match_labels)
        if each.namespace == entry.namespace and selector.matches(each.labels)
    ]
