"""All kinds of Istio's resources that are read, in the order of their groups."""

from __future__ import annotations

from typing import Final

from agent.api.extensions import TrafficExtension, WasmPlugin
from agent.api.networking.destination_rule import DestinationRule
from agent.api.networking.envoy_filter import EnvoyFilter
from agent.api.networking.gateway import Gateway
from agent.api.networking.proxy_config import ProxyConfig
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.sidecar import Sidecar
from agent.api.networking.virtual_service import VirtualService
from agent.api.networking.workload_entry import WorkloadEntry
from agent.api.networking.workload_group import WorkloadGroup
from agent.api.request_authentication import RequestAuthentication
from agent.api.security import AuthorizationPolicy, PeerAuthentication
from agent.api.strict import StrictObject
from agent.api.telemetry import Telemetry

KINDS: Final[tuple[type[StrictObject], ...]] = (
    TrafficExtension,
    WasmPlugin,
    DestinationRule,
    EnvoyFilter,
    Gateway,
    ProxyConfig,
    ServiceEntry,
    Sidecar,
    VirtualService,
    WorkloadEntry,
    WorkloadGroup,
    AuthorizationPolicy,
    PeerAuthentication,
    RequestAuthentication,
    Telemetry,
)
