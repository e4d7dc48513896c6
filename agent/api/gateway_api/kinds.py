"""All kinds of the Gateway API that are read."""

from __future__ import annotations

from typing import Final

from agent.api.gateway_api.backend_tls import BackendTLSPolicy
from agent.api.gateway_api.gateway import Gateway, GatewayClass, ListenerSet
from agent.api.gateway_api.grpc_route import GRPCRoute
from agent.api.gateway_api.http_route import HTTPRoute
from agent.api.gateway_api.reference_grant import ReferenceGrant
from agent.api.gateway_api.stream_routes import TCPRoute, TLSRoute
from agent.api.strict import StrictObject

KINDS: Final[tuple[type[StrictObject], ...]] = (
    GatewayClass,
    Gateway,
    ListenerSet,
    HTTPRoute,
    GRPCRoute,
    TCPRoute,
    TLSRoute,
    ReferenceGrant,
    BackendTLSPolicy,
)
