import math

import pytest
from prometheus_client import CollectorRegistry

from agent.metrics import CertificateCollector, ProxyMetrics, TrafficCollector
from tests.support.proxy import FakeEngine

OPEN = dict.fromkeys(TrafficCollector.OPEN_LABELS, "unknown")


def test_the_engines_counters_have_istios_names() -> None:
    engine, registry = FakeEngine(), CollectorRegistry()
    registry.register(TrafficCollector(engine))
    labels = OPEN | {"reporter": "source", "response_flags": "-"}
    engine.rows = [(labels, 5, 4, 3, 200, 100, 1)]
    engine.served = {"1": ("web", "shop", "web")}
    names = ("connections_opened", "connections_closed", "connections_failed", "received_bytes", "sent_bytes")
    assert [registry.get_sample_value(f"istio_tcp_{name}_total", labels) for name in names] == [5, 4, 3, 200, 100]
    assert registry.get_sample_value("workload_manager_active_proxy_count") == 1


def test_open_connections_are_added_up_by_who_talks_to_whom() -> None:
    engine, registry = FakeEngine(), CollectorRegistry()
    registry.register(TrafficCollector(engine))
    web, redis = OPEN | {"destination_workload": "web"}, OPEN | {"destination_workload": "redis"}
    engine.rows = [
        (web | {"destination_service": "a", "response_flags": "-"}, 0, 0, 0, 0, 0, 2),
        (web | {"destination_service": "b", "response_flags": "-"}, 0, 0, 0, 0, 0, 3),
        (redis | {"response_flags": "-"}, 0, 0, 0, 0, 0, 0),
    ]
    assert registry.get_sample_value("weft_tcp_connections_open", web) == 5
    assert registry.get_sample_value("weft_tcp_connections_open", redis) == 0
    assert registry.get_sample_value("istio_tcp_sockets_open", {"reporter": "source"}) == 2


def test_durations_are_histograms_in_seconds() -> None:
    engine, registry = FakeEngine(), CollectorRegistry()
    registry.register(TrafficCollector(engine))
    engine.connects = [("hbone", "ok", [(0.0005, 1), (10.0, 3), (math.inf, 4)], 12.5)]
    engine.handshakes = [("source", "failed", [(0.0005, 0), (math.inf, 2)], 1.5)]
    name, labels = "weft_connect_duration_seconds", {"route": "hbone", "outcome": "ok"}
    bounds = ("0.0005", "10.0", "+Inf")
    assert [registry.get_sample_value(f"{name}_bucket", labels | {"le": le}) for le in bounds] == [1, 3, 4]
    assert registry.get_sample_value(f"{name}_count", labels) == 4
    assert registry.get_sample_value(f"{name}_sum", labels) == 12.5
    failed = {"reporter": "source", "outcome": "failed"}
    assert registry.get_sample_value("weft_tls_handshake_duration_seconds_count", failed) == 2


def test_what_is_lost_for_lack_of_room_is_counted() -> None:
    engine, registry = FakeEngine(), CollectorRegistry()
    registry.register(TrafficCollector(engine))
    engine.overflown, engine.dropped = 7, 9
    assert registry.get_sample_value("weft_metrics_overflow_total") == 7
    assert registry.get_sample_value("weft_access_log_dropped_total") == 9


def test_a_certificates_end_is_a_unix_time_by_identity() -> None:
    registry = CollectorRegistry()
    registry.register(CertificateCollector(lambda: {"spiffe://a": 1.5e9, "spiffe://b": 0.0}))
    name = "weft_certificate_expiration_timestamp_seconds"
    assert registry.get_sample_value(name, {"identity": "spiffe://a"}) == 1.5e9
    assert registry.get_sample_value(name, {"identity": "spiffe://b"}) == 0


def test_registering_asks_the_engine_nothing() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(TrafficCollector(None))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(TrafficCollector(FakeEngine()))


def test_verdicts_are_counted_by_policy_and_effect() -> None:
    engine, registry = FakeEngine(), CollectorRegistry()
    registry.register(TrafficCollector(engine))
    engine.verdicts = [("none", "refused", 2), ("shop/web", "cut", 1)]
    name = "weft_policy_verdicts_total"
    assert registry.get_sample_value(name, {"policy": "shop/web", "effect": "cut"}) == 1
    assert registry.get_sample_value(name, {"policy": "none", "effect": "refused"}) == 2


def test_the_build_is_named_as_ztunnels() -> None:
    registry = CollectorRegistry()
    ProxyMetrics(registry, "1.2.3")
    assert registry.get_sample_value("istio_build", {"component": "ztunnel", "tag": "1.2.3"}) == 1
