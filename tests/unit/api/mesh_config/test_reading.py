"""What is read of a MeshConfig, what it says without a word, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given as with_any
from hypothesis import strategies as some

from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.reading import read_mesh_config, read_mesh_networks, read_proxy_config
from agent.errors import Fault, InvalidObjectError

OTEL = {"service": "otel.obs.svc.cluster.local", "port": 4317}
SETTINGS: dict[str, Any] = {
    "trustDomain": "example.org",
    "discoverySelectors": [
        {"matchLabels": {"mesh": "on"}},
        {"matchExpressions": [{"key": "env", "operator": "Exists"}]},
    ],
    "defaultConfig": {"proxyMetadata": {"A_B": "1"}, "gatewayTopology": {"numTrustedProxies": 2}},
}


def mesh(**given: Any) -> MeshConfig:
    reading = read_mesh_config(given, "f")
    assert reading.left_out == ()
    return reading.value


def faults(**given: Any) -> dict[str, str]:
    with pytest.raises(InvalidObjectError) as caught:
        read_mesh_config(given, "f")
    assert str(caught.value).startswith("f: MeshConfig: ")
    return {fault.field: fault.text for fault in caught.value.faults}


@pytest.mark.parametrize("empty", [None, {}])
def test_nothing_at_all_means_what_it_means_to_istio(empty: object) -> None:
    config = read_mesh_config(empty, "f").value
    assert (config.trust_domain, config.root_namespace) == ("cluster.local", "istio-system")
    assert config.outbound_traffic_policy.mode == "ALLOW_ANY"
    assert (config.connect_timeout, config.dns_refresh_rate) == (timedelta(seconds=10), timedelta(seconds=60))
    assert (config.default_config.proxy_admin_port, config.default_config.status_port) == (15000, 15020)
    assert config.default_config.drain_duration == timedelta(seconds=45)
    assert [provider.name for provider in config.extension_providers] == ["prometheus", "stackdriver", "envoy"]
    assert config.enable_auto_mtls is True and config.locality_lb_setting.enabled is True


def test_a_section_that_is_there_has_protobufs_defaults_and_the_proxys_is_laid_over() -> None:
    config = mesh(outboundTrafficPolicy={}, defaultConfig={"concurrency": 4})
    assert config.outbound_traffic_policy.mode == "REGISTRY_ONLY"
    assert (config.default_config.concurrency, config.default_config.status_port) == (4, 15020)


def test_fields_may_be_spelt_with_underscores_and_keys_of_maps_stay_as_they_are() -> None:
    config = mesh(
        trust_domain="td",
        mesh_mTLS={"min_protocol_version": "TLSV1_3"},
        default_config={
            "proxy_metadata": {"ISTIO_META_DNS": "1"},
            "tracing": {"custom_tags": {"a_b": {"environment": {"name": "X", "default_value": "y"}}}},
        },
        extension_providers=[{"name": "a", "zipkin": {**OTEL, "enable_64bit_trace_id": True}}],
    )
    assert config.trust_domain == "td"
    assert config.mesh_mtls is not None and config.mesh_mtls.min_protocol_version == "TLSV1_3"
    assert config.default_config.proxy_metadata == {"ISTIO_META_DNS": "1"}
    tracing = config.default_config.tracing
    assert tracing is not None and tracing.custom_tags["a_b"].environment is not None
    assert tracing.custom_tags["a_b"].environment.default_value == "y"
    provider = config.provider("a")
    assert provider is not None and provider.zipkin is not None and provider.zipkin.enable_64bit_trace_id


def test_labels_of_a_log_are_free_down_to_their_last_key() -> None:
    labels = {"start_time": "%START_TIME%", "inner": {"a_b": [1, {"c_d": None}]}}
    config = mesh(extensionProviders=[{"name": "json", "envoyFileAccessLog": {"logFormat": {"labels": labels}}}])
    provider = config.provider("json")
    assert provider is not None and provider.envoy_file_access_log is not None
    assert provider.envoy_file_access_log.log_format is not None
    assert provider.envoy_file_access_log.log_format.labels == labels


def test_numbers_may_be_texts_as_in_protobufs_json() -> None:
    config = mesh(defaultConfig={"concurrency": "2", "tracing": {"sampling": "1.5"}}, proxyListenPort="15101")
    assert (config.default_config.concurrency, config.proxy_listen_port) == (2, 15101)
    assert config.default_config.tracing is not None and config.default_config.tracing.sampling == 1.5


@pytest.mark.parametrize(("text", "seconds"), [("1.5s", 1.5), ("1m30s", 90), ("250ms", 0.25), ("1h", 3600)])
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert mesh(connectTimeout=text).connect_timeout == timedelta(seconds=seconds)


def test_fields_that_nobody_knows_are_left_out_and_named() -> None:
    reading = read_mesh_config(
        {
            "trustDomain": "td",
            "fromTheFuture": {"a": 1},
            "defaultConfig": {"concurency": 2},
            "extensionProviders": [
                {"name": "a", "prometheus": {}},
                {"name": "b", "opentelemetry": {**OTEL, "tls": {}}},
            ],
        },
        "f",
    )
    assert reading.value == mesh(
        trustDomain="td",
        defaultConfig={},
        extensionProviders=[{"name": "a", "prometheus": {}}, {"name": "b", "opentelemetry": OTEL}],
    )
    assert set(reading.left_out) == {
        Fault(("fromTheFuture",), "unknown field"),
        Fault(("defaultConfig", "concurency"), "unknown field"),
        Fault(("extensionProviders", 1, "opentelemetry", "tls"), "unknown field"),
    }


def test_a_provider_takes_the_place_of_the_one_of_its_name_that_every_mesh_has() -> None:
    file = {"path": "/var/log/a"}
    config = mesh(
        extensionProviders=[{"name": "envoy", "envoyFileAccessLog": file}, {"name": "o", "opentelemetry": OTEL}]
    )
    assert [provider.name for provider in config.extension_providers] == ["prometheus", "stackdriver", "envoy", "o"]
    envoy = config.provider("envoy")
    assert envoy is not None and envoy.envoy_file_access_log is not None
    assert envoy.envoy_file_access_log.path == "/var/log/a"
    assert config.provider("nobody") is None


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"connectTimeout": "0s"}, "connectTimeout", "from 1ms to 1h"),
        ({"connectTimeout": "61m"}, "connectTimeout", "from 1ms to 1h"),
        ({"connectTimeout": "10"}, "connectTimeout", "accepted is a duration"),
        ({"connectTimeout": 10}, "connectTimeout", "accepted is a duration"),
        ({"protocolDetectionTimeout": "1500us"}, "protocolDetectionTimeout", "whole milliseconds, or 0s"),
        ({"hboneIdleTimeout": "-1s"}, "hboneIdleTimeout", "a duration that is not negative"),
        ({"trustDomain": ""}, "trustDomain", "accepted is a trust domain"),
        ({"trustDomainAliases": ["a b"]}, "trustDomainAliases[0]", "accepted is a trust domain"),
        ({"proxyListenPort": 70000}, "proxyListenPort", "less than or equal to 65535"),
        ({"enableAutoMtls": "yes"}, "enableAutoMtls", "accepted is a valid boolean"),
        ({"outboundTrafficPolicy": {"mode": "ALLOW"}}, "outboundTrafficPolicy.mode", "'REGISTRY_ONLY', 'ALLOW_ANY'"),
        ({"defaultConfig": {"discoveryAddress": "istiod"}}, "defaultConfig.discoveryAddress", "accepted is HOST:PORT"),
        ({"defaultConfig": {"drainDuration": "1500ms"}}, "defaultConfig.drainDuration", "whole seconds"),
        ({"defaultConfig": {"statusPort": 0}}, "defaultConfig.statusPort", "greater than or equal to 1"),
        (
            {"defaultConfig": {"serviceCluster": "a", "tracingServiceName": "CANONICAL_NAME_ONLY"}},
            "defaultConfig",
            "at most one of serviceCluster, tracingServiceName",
        ),
        (
            {"defaultConfig": {"connectionSettings": {"http2InitialStreamWindowSize": 65534}}},
            "defaultConfig.connectionSettings.http2InitialStreamWindowSize",
            "greater than or equal to 65535",
        ),
        (
            {"defaultConfig": {"privateKeyProvider": {"qat": {"pollDelay": "0s"}}}},
            "defaultConfig.privateKeyProvider.qat.pollDelay",
            "more than 0s",
        ),
        ({"meshMTLS": {"ecdhCurves": ["P-256"]}}, "meshMTLS", "ecdhCurves: not accepted"),
        ({"serviceSettings": [{"hosts": ["*-.a"]}]}, "serviceSettings[0].hosts[0]", "accepted is a host, or one with"),
        ({"extensionProviders": {}}, "extensionProviders", "accepted is a list"),
        ({"discoverySelectors": [{"matchExpressions": [{"key": "a", "operator": "in"}]}]}, None, "accepted is 'In'"),
        (
            {"defaultTrafficPolicy": {"outlierDetection": {"maxEjectionPercent": "all"}}},
            "defaultTrafficPolicy.outlierDetection.maxEjectionPercent",
            "accepted is a valid integer",
        ),
    ],
)
def test_what_is_known_and_wrong_is_refused_with_field_and_reason(given: Any, field: str | None, says: str) -> None:
    found = faults(**given)
    assert len(found) == 1
    assert field is None or list(found) == [field]
    assert says in next(iter(found.values()))


@pytest.mark.parametrize(
    ("provider", "field", "says"),
    [
        ({"name": "a"}, "", "accepted is exactly one of envoyExtAuthzHttp"),
        ({"name": "a", "prometheus": None}, "", "accepted is exactly one of envoyExtAuthzHttp"),
        ({"name": "a", "prometheus": {}, "zipkin": OTEL}, "", "accepted is exactly one of envoyExtAuthzHttp"),
        ({"name": "", "prometheus": {}}, ".name", "at least 1 character"),
        ({"name": "a", "zipkin": {"service": "a"}}, ".zipkin.port", "missing"),
        (
            {"name": "a", "envoyExtAuthzGrpc": {"service": "a/b/c", "port": 1}},
            ".envoyExtAuthzGrpc.service",
            "accepted is a host, NAMESPACE/HOST or an address",
        ),
        (
            {"name": "a", "envoyExtAuthzHttp": {"service": "a", "port": 1, "pathPrefix": "x"}},
            ".envoyExtAuthzHttp.pathPrefix",
            "that matches the pattern",
        ),
        (
            {"name": "a", "envoyExtAuthzHttp": {"service": "a", "port": 1, "statusOnError": "600"}},
            ".envoyExtAuthzHttp.statusOnError",
            "that matches the pattern",
        ),
        (
            {"name": "a", "opentelemetry": {**OTEL, "http": {}, "grpc": {}}},
            ".opentelemetry",
            "at most one of http, grpc",
        ),
        (7, "", "accepted is a map"),
    ],
)
def test_a_provider_that_is_broken_is_left_out_and_named(provider: Any, field: str, says: str) -> None:
    reading = read_mesh_config({"extensionProviders": [{"name": "o", "opentelemetry": OTEL}, provider]}, "f")
    assert [each.name for each in reading.value.extension_providers] == ["prometheus", "stackdriver", "envoy", "o"]
    (fault,) = reading.left_out
    assert fault.field == f"extensionProviders[1]{field}"
    assert says in fault.text


def test_all_faults_are_told_at_once_the_unknown_among_them() -> None:
    assert set(faults(connectTimeout="x", trustDomain="", oops=1)) == {"connectTimeout", "trustDomain", "oops"}


@pytest.mark.parametrize("given", [[], "text", 5])
def test_what_is_no_map_is_refused(given: object) -> None:
    with pytest.raises(InvalidObjectError, match=r"f: MeshConfig: the object: .*accepted is a map"):
        read_mesh_config(given, "f")


def test_a_pods_settings_are_laid_over_the_meshs() -> None:
    config = mesh(
        defaultConfig={
            "concurrency": 2,
            "tracingServiceName": "CANONICAL_NAME_ONLY",
            "proxyMetadata": {"A": "1", "B": "2"},
            "proxyHeaders": {"server": {"disabled": True}, "requestId": {"disabled": True}},
        }
    )
    given = {
        "serviceCluster": "x",
        "proxyMetadata": {"B": "3"},
        "proxyHeaders": {"server": {"value": "web"}},
        "unheard": 1,
    }
    reading = read_proxy_config(given, config, "f")
    found = reading.value
    assert (found.concurrency, found.service_cluster, found.tracing_service_name) == (2, "x", None)
    assert found.proxy_metadata == {"A": "1", "B": "3"}
    assert found.proxy_headers is not None and found.proxy_headers.server is not None
    assert (found.proxy_headers.server.value, found.proxy_headers.server.disabled) == ("web", None)
    assert found.proxy_headers.request_id is not None and found.proxy_headers.request_id.disabled
    assert reading.left_out == (Fault(("unheard",), "unknown field"),)


def test_networks_are_read_by_name() -> None:
    given = {
        "networks": {
            "network_1": {
                "endpoints": [{"fromRegistry": "Kubernetes"}, {"from_cidr": "10.1.0.0/16"}],
                "gateways": [{"address": "1.2.3.4", "port": 15443}, {"registryServiceName": "gw.a.svc", "port": 443}],
            }
        }
    }
    network = read_mesh_networks(given, "f").value.networks["network_1"]
    assert [(each.from_registry, each.from_cidr) for each in network.endpoints] == [
        ("Kubernetes", ""),
        ("", "10.1.0.0/16"),
    ]
    assert [gateway.port for gateway in network.gateways] == [15443, 443]


@pytest.mark.parametrize(
    ("network", "field", "says"),
    [
        ({"endpoints": [{"fromCidr": "10.1.0.0/40"}]}, "endpoints[0].fromCidr", "an address or a CIDR block"),
        ({"gateways": [{"address": "1.2.3.4"}]}, "gateways[0].port", "missing"),
        ({"gateways": [{"address": "a b", "port": 1}]}, "gateways[0].address", "an address or a host name"),
    ],
)
def test_a_broken_network_is_refused(network: Any, field: str, says: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        read_mesh_networks({"networks": {"a": network}}, "f")
    (fault,) = caught.value.faults
    assert fault.field == f"networks.a.{field}" and says in fault.text


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


@with_any(some.dictionaries(some.sampled_from([field.alias or "" for field in MeshConfig.model_fields.values()]), JSON))
def test_whatever_stands_in_a_field_is_read_or_refused_in_words(given: dict[str, Any]) -> None:
    try:
        read_mesh_config(given, "f")
    except InvalidObjectError as exc:
        assert str(exc).startswith("f: MeshConfig: ") and exc.faults
