"""MeshConfig itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from agent.api.label_selector import LabelSelector
from agent.api.mesh_config.fields import (
    ConnectTimeout,
    DetectionTimeout,
    Int32,
    PortNumber,
    Timeout,
    TrustDomain,
    WildcardHost,
)
from agent.api.mesh_config.providers import ExtensionProvider
from agent.api.mesh_config.proxy import ProxyConfig
from agent.api.networking.connection_pool import ConnectionPool, OutlierDetection, TcpKeepalive
from agent.api.networking.destination_rule import ClientTls
from agent.api.networking.http_policies import Retry
from agent.api.networking.load_balancer import LocalityLoadBalancing, ZoneAwareLoadBalancing
from agent.api.scalars import DurationOrZero, Flag, Text, Texts
from agent.api.strict import OneOf, StrictPart

_BUILT_IN: Final = tuple(
    ExtensionProvider.model_validate(provider)
    for provider in (
        {"name": "prometheus", "prometheus": {}},
        {"name": "stackdriver", "stackdriver": {}},
        {"name": "envoy", "envoyFileAccessLog": {"path": "/dev/stdout"}},
    )
)


def _with_built_in(given: tuple[ExtensionProvider, ...]) -> tuple[ExtensionProvider, ...]:
    """As Istio: those of every mesh too, unless another has the name; of two with one name the later."""
    return tuple({provider.name: provider for provider in (*_BUILT_IN, *given)}.values())


class OutboundTrafficPolicy(StrictPart):
    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] = "REGISTRY_ONLY"
    tls: ClientTls | None = None


class InboundTrafficPolicy(StrictPart):
    mode: Literal["PASSTHROUGH", "LOCALHOST"] = "PASSTHROUGH"


class ConfigSource(StrictPart):
    address: StrictStr = ""
    tls_settings: ClientTls | None = None
    subscribed_resources: tuple[Literal["SERVICE_REGISTRY"], ...] = ()


class CertificateData(StrictPart):
    """A root of trust beside the mesh's own, and whose certificates it may sign."""

    one_ofs = (OneOf(("pem", "spiffeBundleUrl")),)

    pem: StrictStr = ""
    spiffe_bundle_url: StrictStr = ""
    cert_signers: Texts = ()
    trust_domains: tuple[TrustDomain, ...] = ()


class Certificate(StrictPart):
    secret_name: StrictStr = ""
    dns_names: Texts = ()


class ServiceFlags(StrictPart):
    cluster_local: StrictBool = False


class ServiceSettings(StrictPart):
    settings: ServiceFlags | None = None
    hosts: tuple[WildcardHost, ...] = ()


class ServiceScope(StrictPart):
    """Whether services that both selectors match are seen by other clusters."""

    namespace_selector: LabelSelector | None = None
    services_selector: LabelSelector | None = None
    scope: Literal["LOCAL", "GLOBAL"] = "LOCAL"


class CertificateAuthority(StrictPart):
    address: StrictStr = ""
    tls_settings: ClientTls | None = None
    request_timeout: Timeout | None = None
    istiod_side: StrictBool = False


class DefaultProviders(StrictPart):
    """Names of the providers that Telemetry uses without naming any."""

    tracing: Texts = ()
    metrics: Texts = ()
    access_logging: Texts = ()


class PathNormalization(StrictPart):
    normalization: Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "DEFAULT"


class TlsDefaults(StrictPart):
    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    ecdh_curves: Texts = ()
    cipher_suites: Texts = ()


def _without_curves(value: TlsDefaults) -> TlsDefaults:
    if value.ecdh_curves:
        raise ValueError("ecdhCurves: not accepted within the mesh")
    return value


class DefaultTrafficPolicy(StrictPart):
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class MatchRule(StrictPart):
    namespace_selector: LabelSelector | None = None


class VisibilityPolicy(StrictPart):
    visibility: Literal["VISIBILITY_UNSPECIFIED", "NONE", "NAMESPACE", "PUBLIC"] = "VISIBILITY_UNSPECIFIED"
    matching_rules: tuple[MatchRule, ...] = ()


class ServiceEntryVisibility(StrictPart):
    """Who sees ServiceEntries that do not say so themselves."""

    default_visibility: Literal["VISIBILITY_UNSPECIFIED", "NONE", "NAMESPACE", "PUBLIC"] = "VISIBILITY_UNSPECIFIED"
    apply_to_sidecars: StrictBool = False
    policies: tuple[VisibilityPolicy, ...] = ()


class MeshConfig(StrictPart):
    """Absent fields have the values that Istio gives them; those of a section that is there, protobuf's."""

    proxy_listen_port: PortNumber = 15001
    proxy_inbound_listen_port: PortNumber = 15006
    proxy_http_port: Annotated[Int32, Field(ge=0, le=65535)] = 0
    connect_timeout: ConnectTimeout = timedelta(seconds=10)
    hbone_idle_timeout: Timeout | None = None
    protocol_detection_timeout: DetectionTimeout = timedelta()
    tcp_keepalive: TcpKeepalive | None = None
    ingress_class: StrictStr = "istio"
    ingress_service: StrictStr = "istio-ingressgateway"
    ingress_controller_mode: Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] = "STRICT"
    ingress_selector: StrictStr = ""
    enable_tracing: StrictBool = True
    access_log_file: StrictStr = ""
    access_log_format: StrictStr = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    enable_envoy_access_log_service: StrictBool = False
    disable_envoy_listener_log: StrictBool = False
    default_config: ProxyConfig = ProxyConfig()
    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy(mode="ALLOW_ANY")
    inbound_traffic_policy: InboundTrafficPolicy = InboundTrafficPolicy()
    config_sources: tuple[ConfigSource, ...] = ()
    enable_auto_mtls: Flag = True
    trust_domain: TrustDomain = "cluster.local"
    trust_domain_aliases: tuple[TrustDomain, ...] = ()
    ca_certificates: tuple[CertificateData, ...] = ()
    default_service_export_to: Texts = ("*",)
    default_virtual_service_export_to: Texts = ("*",)
    default_destination_rule_export_to: Texts = ("*",)
    root_namespace: Text = "istio-system"
    locality_lb_setting: LocalityLoadBalancing = LocalityLoadBalancing(enabled=True)
    zone_aware_lb_setting: ZoneAwareLoadBalancing | None = None
    dns_refresh_rate: DurationOrZero = timedelta(seconds=60)
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = "DO_NOT_UPGRADE"
    inbound_cluster_stat_name: StrictStr = ""
    outbound_cluster_stat_name: StrictStr = ""
    certificates: tuple[Certificate, ...] = ()
    service_settings: tuple[ServiceSettings, ...] = ()
    service_scope_configs: tuple[ServiceScope, ...] = ()
    enable_prometheus_merge: Flag = True
    verify_certificate_at_client: Flag = None
    ca: CertificateAuthority | None = None
    extension_providers: Annotated[tuple[ExtensionProvider, ...], AfterValidator(_with_built_in)] = _BUILT_IN
    default_providers: DefaultProviders = DefaultProviders()
    discovery_selectors: tuple[LabelSelector, ...] = ()
    path_normalization: PathNormalization | None = None
    default_http_retry_policy: Retry | None = None
    mesh_mtls: Annotated[TlsDefaults, AfterValidator(_without_curves)] | None = Field(default=None, alias="meshMTLS")
    tls_defaults: TlsDefaults | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    service_entry_visibility: ServiceEntryVisibility | None = None

    def provider(self, name: str) -> ExtensionProvider | None:
        """The extension provider of that name, None without one."""
        return next((provider for provider in self.extension_providers if provider.name == name), None)
