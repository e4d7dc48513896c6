"""Every metric that the Python processes expose, declared here and nowhere else.

Base units, bounded labels, Istio's names where it has one. The engine's traffic counters
are read by a collector, at scrape time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# Else each counter and histogram has a second series, with the time of its making; Istio has none.
disable_created_metrics()  # type: ignore[no-untyped-call]


class ControllerMetrics:
    """The controller's. Types are type URLs; there are only the few that it serves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected_proxies = Gauge("pilot_xds", "Proxies connected for discovery", registry=registry)
        self.pushes = Counter("pilot_xds_pushes", "Responses written", ["type"], registry=registry)
        self.rejections = Counter(
            "pilot_total_xds_rejects", "Responses that a proxy rejected in part", ["type"], registry=registry
        )
        self.convergence_seconds = Histogram(
            "pilot_proxy_convergence_time",
            "Seconds from a change to its last response written to a proxy",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 1, 3, 5, 10, 20, 30),
            registry=registry,
        )
        self.resources = Gauge("weft_controller_resources", "Resources published", ["type"], registry=registry)
        self.problems = Gauge("weft_controller_problems", "Objects that cannot be used as they are", registry=registry)
        self.csrs = Counter("citadel_server_csr_count", "Certificate requests received", registry=registry)
        self.certificates = Counter(
            "citadel_server_success_cert_issuance_count", "Certificates issued", registry=registry
        )
        self.csr_errors = Counter(
            "citadel_server_csr_parsing_err_count", "Certificate requests that could not be read", registry=registry
        )
        self.authentication_failures = Counter(
            "citadel_server_authentication_failure_count",
            "Calls without a token that proves a caller",
            registry=registry,
        )
        self.forbidden = Counter(
            "weft_controller_forbidden", "Calls of a known caller for what is not its own", registry=registry
        )
        self.root_expiry = Gauge(
            "citadel_server_root_cert_expiry_timestamp", "Unix time at which the root expires", registry=registry
        )
        self.admitted = Counter("galley_validation_passed", "Objects that admission let pass", registry=registry)
        self.refused_objects = Counter("galley_validation_failed", "Objects that admission refused", registry=registry)
        self.malformed_reviews = Counter(
            "galley_validation_http_error", "Requests to admission that were no review", registry=registry
        )


class NodeMetrics:
    """The node agent's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reconcile_events = Counter(
            "nodeagent_reconcile_events_total", "Pods brought into the mesh or out of it", ["type"], registry=registry
        )
        self.connected_proxies = Gauge("ztunnel_connected", "Node proxies connected", registry=registry)
        self.enrolled_pods = Gauge("weft_enrolled_pods", "Pods whose traffic is redirected", registry=registry)
        self.pending_pods = Gauge(
            "weft_pending_pods", "Pods that are not where they belong yet", ["reason"], registry=registry
        )


class RedirectionCollector(Collector):
    """What the kernel programs counted, read when somebody scrapes."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "weft_redirection_events", "What the kernel programs did with connections", labels=["event"]
        )
        for event, count in self._counts().items():
            family.add_metric([event], count)
        yield family


class TrafficSource(Protocol):
    """What counts connections; as agent._engine.Engine."""

    def metrics(self) -> list[tuple[dict[str, str], int, int, int, int, int]]: ...
    def policy_counts(self) -> list[tuple[str, str, int]]: ...
    def pods(self) -> list[str]: ...


class TrafficCollector(Collector):
    """The engine's counters, read when somebody scrapes."""

    _FAMILIES = (
        # In the order of the engine's columns.
        ("istio_tcp_connections_opened", "Connections opened"),
        ("istio_tcp_connections_closed", "Connections closed"),
        ("istio_tcp_connections_failed", "Connections that could not be made, or were refused (unstable)"),
        ("istio_tcp_received_bytes", "Bytes received over TCP"),
        ("istio_tcp_sent_bytes", "Bytes sent over TCP"),
    )

    _VERDICTS = ("weft_policy_verdicts", "Connections that a policy allowed or refused, or cut while they were open")

    def __init__(self, source: TrafficSource) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        """The families without samples: registering must not ask the engine."""
        for name, text in (*self._FAMILIES, self._VERDICTS):
            yield Metric(name, text, "counter")

    def collect(self) -> Iterator[Metric]:
        rows = self._source.metrics()
        for column, (name, text) in enumerate(self._FAMILIES, start=1):
            family = Metric(name, text, "counter")
            for row in rows:
                family.add_sample(f"{name}_total", row[0], float(row[column]))  # type: ignore[arg-type]
            yield family
        verdicts = CounterMetricFamily(*self._VERDICTS, labels=["policy", "effect"])
        for policy, effect, count in self._source.policy_counts():
            verdicts.add_metric([policy, effect], count)
        yield verdicts
        active = Metric("workload_manager_active_proxy_count", "Pods served now", "gauge")
        active.add_sample(active.name, {}, len(self._source.pods()))
        yield active


class ProxyMetrics:
    """The node proxy's own, besides its traffic."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        build = Gauge("istio_build", "Version of this component", ["component", "tag"], registry=registry)
        build.labels(component="ztunnel", tag=version).set(1)
        self.messages = Counter("istio_xds_message", "Discovery responses received", ["url"], registry=registry)
        self.message_bytes = Counter(
            "istio_xds_message_bytes", "Bytes of discovery responses received", ["url"], registry=registry
        )
        self.terminations = Counter(
            "istio_xds_connection_terminations", "Discovery streams that ended", ["reason"], registry=registry
        )
