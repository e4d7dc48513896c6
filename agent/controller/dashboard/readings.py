"""What a node proxy's metrics say, and how fast it grows from one reading to the next. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from agent.errors import InvalidObjectError

UNKNOWN: Final = "unknown"  # a label that the proxy has no value for
_TRAFFIC: Final = "istio_tcp_"
_VERDICTS: Final = "weft_policy_verdicts_total"


class Flow(NamedTuple):
    """The labels that the page tells connections apart by, as the proxy wrote them."""

    reporter: str
    source_namespace: str
    source_workload: str
    source_principal: str
    destination_namespace: str
    destination_workload: str
    destination_principal: str
    service_namespace: str
    service: str
    security: str
    flag: str


class Counts(NamedTuple):
    """Connections and bytes; a number each, or one a second."""

    opened: float = 0.0
    closed: float = 0.0
    failed: float = 0.0
    received: float = 0.0
    sent: float = 0.0

    def plus(self, other: Counts) -> Counts:
        return Counts(*(mine + its for mine, its in zip(self, other, strict=True)))

    def increase_from(self, before: Counts) -> Counts:
        """Growth since `before`. A counter that is smaller than it was has begun anew."""
        return Counts(*(now - then if now >= then else now for now, then in zip(self, before, strict=True)))

    def per(self, seconds: float) -> Counts:
        return Counts(*(value / seconds for value in self))


NONE: Final = Counts()
_LABELS: Final = {  # of each field of a Flow
    "reporter": "reporter",
    "source_namespace": "source_workload_namespace",
    "source_workload": "source_workload",
    "source_principal": "source_principal",
    "destination_namespace": "destination_workload_namespace",
    "destination_workload": "destination_workload",
    "destination_principal": "destination_principal",
    "service_namespace": "destination_service_namespace",
    "service": "destination_service_name",
    "security": "connection_security_policy",
    "flag": "response_flags",
}
_COLUMNS: Final = {
    "istio_tcp_connections_opened_total": "opened",
    "istio_tcp_connections_closed_total": "closed",
    "istio_tcp_connections_failed_total": "failed",
    "istio_tcp_received_bytes_total": "received",
    "istio_tcp_sent_bytes_total": "sent",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One proxy's counters at a time (monotonic, in seconds). verdicts: by policy and effect."""

    at: float
    flows: Mapping[Flow, Counts] = field(default_factory=dict)
    verdicts: Mapping[tuple[str, str], float] = field(default_factory=dict)


def parse(text: str, at: float) -> Reading:
    """A reading from metrics as a proxy exposes them; InvalidObjectError when they are not metrics."""
    flows: dict[Flow, Counts] = {}
    verdicts: dict[tuple[str, str], float] = {}
    # What the page does not show is most of the text: leave it out before the parser, which is slow.
    wanted = "\n".join(line for line in text.splitlines() if line.startswith((_TRAFFIC, _VERDICTS)))
    try:
        for family in text_string_to_metric_families(wanted):
            for name, labels, value, *_ in family.samples:
                if column := _COLUMNS.get(name):
                    flow = Flow(**{field: labels.get(label, UNKNOWN) for field, label in _LABELS.items()})
                    flows[flow] = flows.get(flow, NONE).plus(Counts(**{column: value}))
                elif name == _VERDICTS:
                    key = (labels.get("policy", UNKNOWN), labels.get("effect", UNKNOWN))
                    verdicts[key] = verdicts.get(key, 0.0) + value
    except (ValueError, KeyError, IndexError) as exc:
        raise InvalidObjectError(f"not metrics as Prometheus writes them: {exc}") from exc
    return Reading(at, flows, verdicts)


def totals(readings: Iterable[Reading]) -> dict[Flow, Counts]:
    """The counters of several proxies together."""
    found: dict[Flow, Counts] = {}
    for reading in readings:
        for flow, counts in reading.flows.items():
            found[flow] = found.get(flow, NONE).plus(counts)
    return found


def rates(before: Mapping[str, Reading], now: Mapping[str, Reading]) -> dict[Flow, Counts]:
    """Growth per second, over all proxies that have been read twice."""
    found: dict[Flow, Counts] = {}
    for proxy, reading in now.items():
        earlier = before.get(proxy)
        if earlier is None or reading.at <= earlier.at:
            continue
        for flow, counts in reading.flows.items():
            growth = counts.increase_from(earlier.flows.get(flow, NONE)).per(reading.at - earlier.at)
            found[flow] = found.get(flow, NONE).plus(growth)
    return found


def verdicts(readings: Iterable[Reading]) -> dict[str, dict[str, float]]:
    """How often each policy decided, by policy and effect."""
    found: dict[str, dict[str, float]] = {}
    for reading in readings:
        for (policy, effect), count in reading.verdicts.items():
            effects = found.setdefault(policy, {})
            effects[effect] = effects.get(effect, 0.0) + count
    return found
