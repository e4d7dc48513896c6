"""Traffic as a node proxy counts it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest

from agent.controller.dashboard.readings import Counts, Flow

_LABELS = {
    "reporter": "reporter",
    "source_workload_namespace": "source_namespace",
    "source_workload": "source_workload",
    "source_principal": "source_principal",
    "destination_workload_namespace": "destination_namespace",
    "destination_workload": "destination_workload",
    "destination_principal": "destination_principal",
    "destination_service_namespace": "service_namespace",
    "destination_service_name": "service",
    "connection_security_policy": "security",
    "response_flags": "flag",
}
_NAMES = {
    "istio_tcp_connections_opened": "opened",
    "istio_tcp_connections_closed": "closed",
    "istio_tcp_connections_failed": "failed",
    "istio_tcp_received_bytes": "received",
    "istio_tcp_sent_bytes": "sent",
}


def a_flow(
    source: str,
    destination: str,
    *,
    reporter: str = "source",
    security: str = "mutual_tls",
    flag: str = "-",
    namespace: str = "shop",
    service: str = "",
) -> Flow:
    """A flow between two workloads of a namespace; an end that is unknown is so in all its labels."""
    ends = [(namespace, name, f"spiffe://cluster.local/ns/{namespace}/sa/{name}") for name in (source, destination)]
    unknown = ("unknown",) * 3
    shown = [unknown if end[1] == "unknown" else end for end in ends]
    called = (namespace, service) if service else ("unknown", "unknown")
    return Flow(reporter, *shown[0], *shown[1], *called, security, flag)


def exposed(
    flows: Mapping[Flow, Counts], verdicts: Mapping[tuple[str, str], float] | None = None, version: str = "unknown"
) -> str:
    """The metrics of a proxy that has counted these."""
    registry = CollectorRegistry()
    for name, column in _NAMES.items():
        counter = Counter(name, "Traffic", [*_LABELS, "source_version"], registry=registry)
        for flow, counts in flows.items():
            labels = {label: getattr(flow, field) for label, field in _LABELS.items()}
            counter.labels(**labels, source_version=version).inc(getattr(counts, column))
    decided = Counter("weft_policy_verdicts", "Verdicts", ["policy", "effect"], registry=registry)
    for (policy, effect), count in (verdicts or {}).items():
        decided.labels(policy=policy, effect=effect).inc(count)
    return generate_latest(registry).decode()
