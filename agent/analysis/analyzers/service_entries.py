"""ServiceEntries that contradict each other, or that no connection can be told to be for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from agent.analysis import waypoints
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.api.networking.service_entry import ServiceEntry

_ALL: Final = "*"
_ALLOCATION: Final = "networking.istio.io/enable-autoallocate-ip"
_WITHOUT_HOST: Final = ("", "TCP")  # of which IST0134 tells


def protocols(corpus: Corpus) -> Iterator[Finding]:
    """IST0177: one host and port, and two protocols, where one caller sees both."""
    claims: dict[tuple[str, str, int], list[tuple[Entry[ServiceEntry], int, str]]] = defaultdict(list)
    for entry in corpus.of(ServiceEntry):
        for host in entry.value.spec.hosts:
            for number, port in enumerate(entry.value.spec.ports):
                for scope in _scopes(entry):
                    claims[scope, host, port.number].append((entry, number, port.protocol.upper()))
    for (scope, host, port_number), found in claims.items():
        seen = found if scope == _ALL else [*found, *claims.get((_ALL, host, port_number), ())]
        if len({protocol for _, _, protocol in seen}) < 2:
            continue
        told = ", ".join(sorted({f"{each.value.full_name} {protocol or 'none'}" for each, _, protocol in seen}))
        for entry, number, _ in seen:
            yield entry.finding("IST0177", "spec", "ports", number, host=host, port=port_number, claims=told)


def addresses(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0015: behind a waypoint, and without an address that would lead there."""
    for entry in corpus.of(ServiceEntry):
        spec = entry.value.spec
        if spec.addresses or entry.value.status.addresses or _gets_address(entry):
            continue
        waypoint = waypoints.of_service(corpus, entry)
        if waypoint and any(port.protocol.upper() not in _WITHOUT_HOST for port in spec.ports):
            yield entry.finding("WEFT0015", "spec", waypoint="/".join(waypoint))


def _scopes(entry: Entry[ServiceEntry]) -> frozenset[str]:
    """Namespaces of callers that see it."""
    named = entry.value.spec.export_to or (_ALL,)
    return frozenset({_ALL}) if _ALL in named else frozenset(entry.namespace if each == "." else each for each in named)


def _gets_address(entry: Entry[ServiceEntry]) -> bool:
    """Whether the controller makes one up: not where only the caller knows it, and not against the author's word."""
    is_refused = entry.value.metadata.labels.get(_ALLOCATION, "").lower() == "false"
    return entry.value.spec.resolution != "NONE" and not is_refused
