"""Sidecar: what the proxies of some workloads listen to and know of."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictStr

from agent.api.networking.connection_pool import ConnectionPool
from agent.api.networking.destinations import Destination
from agent.api.networking.gateway import ServerTls
from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.scalars import OptionalPort, Texts
from agent.api.selectors import NetworkingSelector
from agent.api.strict import Facts, StrictObject, StrictPart

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(StrictPart):
    """The port of a listener."""

    number: OptionalPort = 0
    """Number of the port; 0 with a unix:// address only."""
    protocol: StrictStr = ""
    """HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS."""
    name: StrictStr = ""
    """Name of the port."""
    target_port: OptionalPort = 0
    """Without effect."""


class IngressListener(StrictPart):
    """A listener for what comes to the workload."""

    port: SidecarPort
    """The port that is listened to."""
    bind: StrictStr = ""
    """Address that is listened at; the workload's if empty."""
    capture_mode: CaptureMode = "DEFAULT"
    """How connections get there: by redirection, or (NONE) as they are addressed."""
    default_endpoint: StrictStr = ""
    """Where connections go on to: 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT (the workload's address) or unix://PATH."""
    tls: ServerTls | None = None
    """TLS towards clients in place of the mesh's."""
    connection_pool: ConnectionPool | None = None
    """Limits of connections, in place of inboundConnectionPool."""


class EgressListener(StrictPart):
    """A listener for what leaves the workload."""

    port: SidecarPort | None = None
    """The port that is listened to; those of the hosts if absent."""
    bind: StrictStr = ""
    """Address, or unix:// and a path, that is listened at; those of the hosts if empty."""
    capture_mode: CaptureMode = "DEFAULT"
    """How connections get there: by redirection, or (NONE) as they are addressed."""
    hosts: Texts
    """Services that can be reached, each NAMESPACE/HOST; NAMESPACE may be '*', '.' or '~' for none."""


class OutboundTrafficPolicy(StrictPart):
    """What becomes of connections to destinations that the mesh does not know."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    """Drop them, or let them out."""
    egress_proxy: Destination | None = None
    """Where to send them to when they are let out; not implemented by Istio for all traffic."""


class SidecarSpec(StrictPart):
    """Listeners of the chosen workloads."""

    workload_selector: NetworkingSelector | None = None
    """Workloads, in the namespace of the resource, that it is for; all if absent."""
    ingress: tuple[IngressListener, ...] = ()
    """Listeners for what comes; those of the workload's services if empty."""
    egress: tuple[EgressListener, ...] = ()
    """Listeners for what leaves; those that the namespace has by default if empty."""
    inbound_connection_pool: ConnectionPool | None = None
    """Limits of connections to the workload."""
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    """What becomes of unknown destinations; as the mesh says if absent, which is ALLOW_ANY."""


class Sidecar(StrictObject):
    """Narrows what the sidecar proxies of a namespace or of chosen workloads listen to and know of."""

    facts = Facts(GROUP, "sidecars", ALL_VERSIONS, categories=CATEGORIES)

    spec: SidecarSpec = SidecarSpec()
    """The listeners."""
