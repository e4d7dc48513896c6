from prometheus_client import CollectorRegistry

from agent.metrics import ProxyMetrics, TrafficCollector
from tests.support.proxy import FakeEngine


def test_the_engines_counters_have_istios_names() -> None:
    engine, registry = FakeEngine(), CollectorRegistry()
    registry.register(TrafficCollector(engine))
    labels = {"reporter": "source", "response_flags": "-"}
    engine.rows = [(labels, 5, 4, 3, 200, 100)]
    engine.served = {"1": ("web", "shop", "web")}
    names = ("connections_opened", "connections_closed", "connections_failed", "received_bytes", "sent_bytes")
    assert [registry.get_sample_value(f"istio_tcp_{name}_total", labels) for name in names] == [5, 4, 3, 200, 100]
    assert registry.get_sample_value("workload_manager_active_proxy_count") == 1


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
