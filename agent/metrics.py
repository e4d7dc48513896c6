"""Every metric that the Python processes expose, declared here and nowhere else.

Base units, bounded labels, Istio's names where it has one. The engine's traffic counters
are read by a collector, at scrape time.
"""

from __future__ import annotations

import math
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

# Else each counter and histogram has a second series, with the time of its making; Istio has none.
disable_created_metrics()  # type: ignore[no-untyped-call]


def _dropped_callers(registry: CollectorRegistry) -> Counter:
    return Counter(
        "weft_admin_connections_dropped", "HTTP connections ended because newer ones came", registry=registry
    )


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
        self.computed = Counter(
            "weft_controller_resources_computed",
            "Resources made from the cluster's objects, changed or not",
            ["type"],
            registry=registry,
        )
        self.problems = Gauge("weft_controller_problems", "Objects that cannot be used as they are", registry=registry)
        self.csrs = Counter("citadel_server_csr_count", "Certificate requests received", registry=registry)
        self.certificates = Counter(
            "citadel_server_success_cert_issuance_count", "Certificates issued", registry=registry
        )
        self.certificate_requests = Counter(
            "weft_controller_certificate_requests",
            "Calls for a certificate, by outcome: issued, unauthenticated, forbidden, invalid, unavailable or failed",
            ["outcome"],
            registry=registry,
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
        self.chain_expiry = Gauge(
            "citadel_server_cert_chain_expiry_timestamp",
            "Unix time at which the first certificate expires of those that lead to the root",
            registry=registry,
        )
        self.trusted_roots = Gauge(
            "weft_controller_trusted_roots", "Roots that proxies are told to trust", registry=registry
        )
        self.authority_problems = Gauge(
            "weft_controller_authority_problems",
            "1 while the Secret of the mesh's authority cannot be used, and the last good one goes on",
            registry=registry,
        )
        self.admitted = Counter("galley_validation_passed", "Objects that admission let pass", registry=registry)
        self.refused_objects = Counter("galley_validation_failed", "Objects that admission refused", registry=registry)
        self.malformed_reviews = Counter(
            "galley_validation_http_error", "Requests to admission that were no review", registry=registry
        )
        self.superseded = Counter(
            "weft_controller_streams_superseded",
            "Discovery streams ended because their caller opened newer ones",
            registry=registry,
        )
        self.dropped_streams = Counter(
            "weft_controller_streams_dropped",
            "Discovery streams ended because their proxy took no response in time (stalled), or answered none (silent)",
            ["reason"],
            registry=registry,
        )
        self.dropped_callers = _dropped_callers(registry)


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
        self.kubelet_cgroups = Gauge(
            "weft_kubelet_cgroups",
            "Cgroups that a kubelet is known by; without one its probes are judged by policy",
            registry=registry,
        )
        self.strangers = Counter(
            "weft_handover_strangers",
            "Callers of the hand-over socket that were turned away, or broke its protocol",
            registry=registry,
        )
        self.cni_requests = Counter(
            "weft_cni_requests", "Questions of the CNI plugin, by what became of them", ["outcome"], registry=registry
        )
        self.cni_seconds = Histogram(
            "weft_cni_request_duration_seconds",
            "Seconds that a pod's start was held",
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
            registry=registry,
        )
        self.cni_chained = Gauge(
            "weft_cni_chained", "1 while the node's CNI configuration has the plugin", registry=registry
        )
        self.cni_changes = Counter(
            "weft_cni_changes", "Times that the plugin was put into the node's CNI configuration", registry=registry
        )
        self.cni_problems = Gauge(
            "weft_cni_problems", "CNI configuration files that cannot be used, and are left alone", registry=registry
        )
        self.dropped_callers = _dropped_callers(registry)


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


# As agent._engine.pyi says.
Traffic = tuple[dict[str, str], int, int, int, int, int, int]
Durations = tuple[str, str, list[tuple[float, int]], float]


class TrafficSource(Protocol):
    """What counts connections; as agent._engine.Engine."""

    def metrics(self) -> list[Traffic]: ...
    def metrics_overflown(self) -> int: ...
    def handshake_durations(self) -> list[Durations]: ...
    def connect_durations(self) -> list[Durations]: ...
    def sockets_open(self) -> list[tuple[str, int]]: ...
    def access_log_dropped(self) -> int: ...
    def policy_counts(self) -> list[tuple[str, str, int]]: ...
    def pods(self) -> list[str]: ...


class TrafficCollector(Collector):
    """The engine's counters, read when somebody scrapes."""

    _COUNTERS = (
        # In the order of the engine's columns.
        ("istio_tcp_connections_opened", "Connections opened"),
        ("istio_tcp_connections_closed", "Connections closed"),
        ("istio_tcp_connections_failed", "Connections that could not be made, or were refused (unstable)"),
        ("istio_tcp_received_bytes", "Bytes received over TCP"),
        ("istio_tcp_sent_bytes", "Bytes sent over TCP"),
    )
    OPEN_LABELS = (
        "reporter",
        "source_workload",
        "source_workload_namespace",
        "destination_workload",
        "destination_workload_namespace",
        "connection_security_policy",
    )

    def __init__(self, source: TrafficSource) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        """The families without samples: registering must not ask the engine."""
        families = [*self._traffic([]), self._open([]), *self._durations([], [])]
        yield from [*families, self._verdicts([]), *self._counts(0, 0), *self._gauges([], 0)]

    def collect(self) -> Iterator[Metric]:
        source = self._source
        rows = source.metrics()
        yield from self._traffic(rows)
        yield self._open(rows)
        yield from self._durations(source.connect_durations(), source.handshake_durations())
        yield self._verdicts(source.policy_counts())
        yield from self._counts(source.metrics_overflown(), source.access_log_dropped())
        yield from self._gauges(source.sockets_open(), len(source.pods()))

    def _traffic(self, rows: list[Traffic]) -> Iterator[Metric]:
        for column, (name, text) in enumerate(self._COUNTERS, start=1):
            family = Metric(name, text, "counter")
            for row in rows:
                family.add_sample(f"{name}_total", row[0], float(row[column]))  # type: ignore[arg-type]
            yield family

    def _open(self, rows: list[Traffic]) -> Metric:
        """Rows differ in more labels than these."""
        sums: Counts[tuple[str, ...]] = Counts()
        for labels, *_, count in rows:
            sums[tuple(labels[name] for name in self.OPEN_LABELS)] += count
        family = GaugeMetricFamily("weft_tcp_connections_open", "Connections open now", labels=self.OPEN_LABELS)
        for values, count in sums.items():
            family.add_metric(values, count)
        return family

    def _durations(self, connects: list[Durations], handshakes: list[Durations]) -> Iterator[Metric]:
        yield _histogram(
            "weft_connect_duration_seconds",
            "From the accept of a pod's connection to its destination's answer",
            ("route", "outcome"),
            connects,
        )
        yield _histogram(
            "weft_tls_handshake_duration_seconds",
            "TLS handshakes with other proxies, as client (source) and as server (destination)",
            ("reporter", "outcome"),
            handshakes,
        )

    def _verdicts(self, counted: list[tuple[str, str, int]]) -> Metric:
        family = CounterMetricFamily(
            "weft_policy_verdicts",
            "Connections that a policy allowed or refused, or cut while they were open; "
            "of a dry run, what it would have done (would-allow, would-refuse)",
            labels=["policy", "effect"],
        )
        for policy, effect, count in counted:
            family.add_metric([policy, effect], count)
        return family

    def _counts(self, overflown: int, dropped: int) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "weft_metrics_overflow", "Times that the row of a new label set was `overflow` for lack of room", overflown
        )
        yield CounterMetricFamily(
            "weft_access_log_dropped", "Lines of the access log that nobody read fast enough", dropped
        )

    def _gauges(self, sockets: list[tuple[str, int]], pods: int) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "istio_tcp_sockets_open", "Clients' connections open now; a tunnel is one (unstable)", labels=["reporter"]
        )
        for reporter, count in sockets:
            family.add_metric([reporter], count)
        yield family
        yield GaugeMetricFamily("workload_manager_active_proxy_count", "Pods served now", pods)


def _histogram(name: str, text: str, labels: tuple[str, str], rows: list[Durations]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for first, second, buckets, seconds in rows:
        family.add_metric([first, second], [(_bound(bound), count) for bound, count in buckets], seconds)
    return family


def _bound(seconds: float) -> str:
    return "+Inf" if math.isinf(seconds) else repr(seconds)


class CertificateCollector(Collector):
    """When the certificate of each identity of this node expires."""

    def __init__(self, expiries: Callable[[], Mapping[str, float]]) -> None:
        """`expiries` gives Unix times by identity, 0 where there is no certificate."""
        self._expiries = expiries

    def describe(self) -> Iterator[Metric]:
        yield self._family({})

    def collect(self) -> Iterator[Metric]:
        yield self._family(self._expiries())

    def _family(self, expiries: Mapping[str, float]) -> Metric:
        family = GaugeMetricFamily(
            "weft_certificate_expiration_timestamp_seconds",
            "Unix time at which a pod's certificate expires; 0 while it has none",
            labels=["identity"],
        )
        for identity, moment in expiries.items():
            family.add_metric([identity], moment)
        return family


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
        self.dropped_callers = _dropped_callers(registry)
