"""Who talks to whom: the counters of both ends of a connection become one edge. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.controller.dashboard.readings import NONE, UNKNOWN, Counts, Flow

MUTUAL_TLS: Final = "mutual_tls"
PLAIN: Final = "plain"
_WENT_WELL: Final = "-"  # the flag of connections without a failure


class Party(NamedTuple):
    """An end of connections: a workload, a service of which no endpoint is known, or what the mesh does not know."""

    kind: str  # workload, service or outside
    namespace: str = ""
    name: str = ""

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.namespace}/{self.name}"


OUTSIDE: Final = Party("outside")


@dataclass(frozen=True, slots=True)
class Failures:
    """Connections that were not made, or were refused, for one reason."""

    flag: str
    total: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Edge:
    """Connections from one party to another. Identities and services are all that were seen."""

    source: Party
    destination: Party
    total: Counts
    rate: Counts
    opened_by_security: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[Failures, ...] = ()
    services: tuple[str, ...] = ()
    source_identities: tuple[str, ...] = ()
    destination_identities: tuple[str, ...] = ()

    @property
    def security(self) -> str:
        """mutual_tls, plain or mixed; none when no connection was ever begun."""
        used = [security for security, opened in self.opened_by_security.items() if opened]
        return used[0] if len(used) == 1 else "mixed" if used else "none"

    @property
    def id(self) -> str:
        return f"{self.source.id}>{self.destination.id}"


def edges(totals: Mapping[Flow, Counts], rates: Mapping[Flow, Counts]) -> list[Edge]:
    """An edge for each pair of parties between which there were connections, by name."""
    flows: dict[tuple[Party, Party], list[Flow]] = {}
    for flow in totals:
        flows.setdefault((source(flow), destination(flow)), []).append(flow)
    found = [_edge(ends, its, totals, rates) for ends, its in sorted(flows.items())]
    return [edge for edge in found if edge.total != NONE]


def source(flow: Flow) -> Party:
    if flow.source_workload == UNKNOWN:
        return OUTSIDE
    return Party("workload", flow.source_namespace, flow.source_workload)


def destination(flow: Flow) -> Party:
    if flow.destination_workload != UNKNOWN:
        return Party("workload", flow.destination_namespace, flow.destination_workload)
    if flow.service != UNKNOWN:
        return Party("service", flow.service_namespace, flow.service)
    return OUTSIDE


def _edge(
    ends: tuple[Party, Party], flows: list[Flow], totals: Mapping[Flow, Counts], rates: Mapping[Flow, Counts]
) -> Edge:
    # Both proxies count a connection. Take the one that has seen more of them: the other does not
    # answer, has begun anew, or serves only some of the pods.
    reporters = sorted({flow.reporter for flow in flows})
    of = {reporter: [flow for flow in flows if flow.reporter == reporter] for reporter in reporters}
    heard = max(reporters, key=lambda each: (_sum(totals, of[each]).opened, each == "source"))
    # A refusal has its reason at the server's proxy; the client's knows only that there was one.
    refused = max(reporters, key=lambda each: (_sum(totals, of[each]).failed, each == "destination"))
    total, rate = _sum(totals, of[heard]), _sum(rates, of[heard])
    return Edge(
        *ends,
        total=total._replace(failed=_sum(totals, of[refused]).failed),
        rate=rate._replace(failed=_sum(rates, of[refused]).failed),
        opened_by_security=_by_security(of[heard], totals),
        failures=tuple(_failures(of[refused], totals, rates)),
        services=_seen(f"{flow.service_namespace}/{flow.service}" for flow in flows if flow.service != UNKNOWN),
        source_identities=_seen(flow.source_principal for flow in flows),
        destination_identities=_seen(flow.destination_principal for flow in flows),
    )


def _by_security(flows: Iterable[Flow], totals: Mapping[Flow, Counts]) -> dict[str, float]:
    """How connections were begun, which is counted before anything can fail."""
    found = {MUTUAL_TLS: 0.0, PLAIN: 0.0}
    for flow in flows:
        if flow.flag == _WENT_WELL:
            found[MUTUAL_TLS if flow.security == MUTUAL_TLS else PLAIN] += totals[flow].opened
    return found


def _failures(flows: Iterable[Flow], totals: Mapping[Flow, Counts], rates: Mapping[Flow, Counts]) -> Iterable[Failures]:
    by_flag: dict[str, list[Flow]] = {}
    for flow in flows:
        by_flag.setdefault(flow.flag, []).append(flow)
    for flag, its in sorted(by_flag.items()):
        if failed := _sum(totals, its).failed:
            yield Failures(flag, failed, _sum(rates, its).failed)


def _sum(counts: Mapping[Flow, Counts], flows: Iterable[Flow]) -> Counts:
    found = NONE
    for flow in flows:
        found = found.plus(counts.get(flow, NONE))
    return found


def _seen(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value != UNKNOWN}))
