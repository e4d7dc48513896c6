"""DestinationRule: how a service is called once a route has chosen it, and what its subsets are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictStr

from agent.api.networking.connection_pool import ConnectionPool, OutlierDetection, RetryBudget
from agent.api.networking.destinations import PortSelector
from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.networking.load_balancer import LoadBalancer
from agent.api.scalars import Flag, PortNumber, TextMap, Texts
from agent.api.selectors import WorkloadSelector
from agent.api.strict import AGE, Column, Facts, StrictObject, StrictPart


class ClientTls(StrictPart):
    """TLS towards the service."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    """None, TLS, TLS with the given client certificate, or mutual TLS of the mesh."""
    client_certificate: StrictStr = ""
    """File with the client's certificate; needed with MUTUAL, empty with ISTIO_MUTUAL."""
    private_key: StrictStr = ""
    """File with the client's key; needed with MUTUAL, empty with ISTIO_MUTUAL."""
    ca_certificates: StrictStr = ""
    """File with the authorities that the server's certificate may come from; those of the system if empty."""
    credential_name: StrictStr = ""
    """Secret with key, certificate and authorities, in place of files; at gateways, or with a workload selector."""
    subject_alt_names: Texts = ()
    """Names of which the server's certificate must carry one; those of the ServiceEntry if empty."""
    sni: StrictStr = ""
    """Server name to ask for; the host of the request if empty."""
    insecure_skip_verify: Flag = None
    """Whether the server's certificate goes unverified; false if absent."""
    ca_crl: StrictStr = ""
    """File with certificates that are revoked."""


class PortTrafficPolicy(StrictPart):
    """Settings of one port; they replace those of the service, and what is absent is at its default."""

    port: PortSelector | None = None
    """The port of the service."""
    load_balancer: LoadBalancer | None = None
    """How an endpoint is chosen."""
    connection_pool: ConnectionPool | None = None
    """Limits of connections."""
    outlier_detection: OutlierDetection | None = None
    """When an endpoint is left out."""
    tls: ClientTls | None = None
    """TLS towards the service."""


class Tunnel(StrictPart):
    """TCP within HTTP, through the service as a proxy."""

    protocol: StrictStr = ""
    """CONNECT, the default, or POST."""
    target_host: StrictStr
    """Name or address to reach through the proxy."""
    target_port: PortNumber
    """Port to reach through the proxy."""


class ProxyProtocol(StrictPart):
    """HAProxy's PROXY protocol, which names the client at the head of a connection."""

    version: Literal["V1", "V2"] = "V1"
    """As text (V1) or binary (V2)."""


class TrafficPolicy(StrictPart):
    """Settings of a service, for all its ports."""

    load_balancer: LoadBalancer | None = None
    """How an endpoint is chosen."""
    connection_pool: ConnectionPool | None = None
    """Limits of connections."""
    outlier_detection: OutlierDetection | None = None
    """When an endpoint is left out."""
    tls: ClientTls | None = None
    """TLS towards the service; chosen by what the endpoint can do if absent."""
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], Field(max_length=4096)] = ()
    """Other settings for single ports."""
    tunnel: Tunnel | None = None
    """Carry TCP and TLS through the service as a proxy."""
    proxy_protocol: ProxyProtocol | None = None
    """Send the PROXY protocol to the service."""
    retry_budget: RetryBudget | None = None
    """Limit on retries."""


class Subset(StrictPart):
    """Some of the endpoints, by their labels, under a name that routes use."""

    name: StrictStr
    """Name of the subset."""
    labels: TextMap = Field(default_factory=dict)
    """Labels that an endpoint must have besides the service's selector."""
    traffic_policy: TrafficPolicy | None = None
    """Settings in place of the service's."""


class DestinationRuleSpec(StrictPart):
    """Settings for a host."""

    host: StrictStr
    """Name or wildcard of the service; a short name is completed from the namespace of the resource."""
    traffic_policy: TrafficPolicy | None = None
    """Settings for the whole service."""
    subsets: tuple[Subset, ...] = ()
    """Named parts of the service."""
    export_to: Texts = ()
    """Namespaces that see the resource: '.' for its own, '*' for all; as the mesh says if empty, which is all."""
    workload_selector: WorkloadSelector | None = None
    """Calling workloads, in the namespace of the resource, that it is for; all if absent."""


class DestinationRule(StrictObject):
    """Says how a service is called, and names subsets of its endpoints."""

    facts = Facts(
        GROUP,
        "destinationrules",
        ALL_VERSIONS,
        short_names=("dr",),
        categories=CATEGORIES,
        columns=(Column("Host", ".spec.host"), AGE),
    )

    spec: DestinationRuleSpec
    """The settings."""
