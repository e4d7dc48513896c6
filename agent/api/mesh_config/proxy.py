"""ProxyConfig: how each proxy of the mesh runs, as MeshConfig's defaultConfig and pods' annotations say it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from agent.api.mesh_config.fields import (
    DrainDuration,
    Int32,
    OptionalProxyAddress,
    PollDelay,
    PortNumber,
    ProxyAddress,
    Timeout,
    UInt32,
)
from agent.api.mesh_config.headers import ForwardClientCertDetails, ProxyHeaders
from agent.api.mesh_config.limits import ConnectionSettings
from agent.api.mesh_config.tracing import Tracing
from agent.api.networking.connection_pool import TcpKeepalive
from agent.api.networking.destination_rule import ClientTls
from agent.api.networking.proxy_config import ProxyImage
from agent.api.networking.workload_group import ReadinessProbe
from agent.api.scalars import DurationOrZero, Flag, Text, TextMap, Texts
from agent.api.strict import OneOf, StrictPart


class SecretDiscoveryService(StrictPart):
    enabled: StrictBool = False
    k8s_sa_jwt_path: StrictStr = Field(default="", alias="k8sSaJwtPath")


class ProxyProtocolListener(StrictPart):
    """Being there is all it says: the PROXY protocol is expected."""


class Topology(StrictPart):
    """What stands in front of a gateway, and how far it is believed."""

    num_trusted_proxies: UInt32 = 0
    forward_client_cert_details: ForwardClientCertDetails = "UNDEFINED"
    proxy_protocol: ProxyProtocolListener | None = None


class HardwareCrypto(StrictPart):
    poll_delay: PollDelay
    fallback: Flag = None


class PrivateKeyProvider(StrictPart):
    one_ofs = (OneOf(("cryptomb", "qat"), is_required=True),)

    cryptomb: HardwareCrypto | None = None
    qat: HardwareCrypto | None = None


class RemoteService(StrictPart):
    address: OptionalProxyAddress = ""
    tls_settings: ClientTls | None = None
    tcp_keepalive: TcpKeepalive | None = None


class StatsMatcher(StrictPart):
    inclusion_prefixes: Texts = ()
    inclusion_suffixes: Texts = ()
    inclusion_regexps: Texts = ()


class ProxyConfig(StrictPart):
    """Absent fields have the values that Istio's own installation gives them."""

    one_ofs = (OneOf(("serviceCluster", "tracingServiceName")),)

    config_path: Text = "./etc/istio/proxy"
    binary_path: Text = "/usr/local/bin/envoy"
    service_cluster: Text = "istio-proxy"
    tracing_service_name: (
        Literal["APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"] | None
    ) = None
    drain_duration: DrainDuration = timedelta(seconds=45)
    discovery_address: ProxyAddress = "istiod.istio-system.svc:15012"
    discovery_refresh_delay: DurationOrZero | None = None
    zipkin_address: StrictStr = ""
    statsd_udp_address: OptionalProxyAddress = ""
    envoy_metrics_service_address: OptionalProxyAddress = ""
    proxy_admin_port: PortNumber = 15000
    availability_zone: StrictStr = ""
    control_plane_auth_policy: Literal["NONE", "MUTUAL_TLS"] = "MUTUAL_TLS"
    custom_config_file: StrictStr = ""
    stat_name_length: Int32 = 189
    concurrency: Int32 | None = None
    proxy_bootstrap_template_path: StrictStr = ""
    interception_mode: Literal["REDIRECT", "TPROXY", "NONE"] = "REDIRECT"
    tracing: Tracing | None = None
    sds: SecretDiscoveryService | None = None
    envoy_access_log_service: RemoteService | None = None
    envoy_metrics_service: RemoteService | None = None
    proxy_metadata: TextMap = Field(default_factory=dict)
    runtime_values: TextMap = Field(default_factory=dict)
    status_port: PortNumber = 15020
    extra_stat_tags: Texts = ()
    gateway_topology: Topology | None = None
    termination_drain_duration: Timeout = timedelta(seconds=5)
    mesh_id: StrictStr = ""
    readiness_probe: ReadinessProbe | None = None
    proxy_stats_matcher: StatsMatcher | None = None
    hold_application_until_proxy_starts: Flag = None
    ca_certificates_pem: Texts = ()
    image: ProxyImage | None = None
    private_key_provider: PrivateKeyProvider | None = None
    proxy_headers: ProxyHeaders | None = None
    file_flush_interval: Timeout | None = None
    file_flush_min_size_kb: UInt32 = 0
    stats_compression: Flag = None
    connection_settings: ConnectionSettings | None = None
