"""Which checks there are for which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from agent.api.kubernetes import Resource
from agent.api.strict import StrictObject
from agent.api.validation.remarks import Remark

Check = Callable[[Any], Iterator[Remark]]  # takes a resource of the kind that it is listed under

_KUBERNETES: Final = (
    "Namespace Node Pod Service ServiceAccount Secret Deployment EndpointSlice Ingress IngressClass NetworkPolicy "
    "CustomResourceDefinition MutatingWebhookConfiguration ValidatingWebhookConfiguration"
)
# Kinds of which their models say all that can be said of one object alone, and why that is all.
WITHOUT_CHECKS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_KUBERNETES.split(), "an API server refuses what makes no sense in it"),
    "GatewayClass": "it names a controller, which judges its parameters",
    "ReferenceGrant": "it names kinds and namespaces, which may come later",
    "BackendTLSPolicy": "its model has all the rules of the Gateway API",
}


def checks_of(resource: Resource) -> Iterator[Remark]:
    """What the checks of its kind say of a resource."""
    for check in checks_for(type(resource)):
        yield from check(resource)


@cache
def checks_for(kind: type[Resource]) -> Sequence[Check]:
    """Those of one kind. The modules are imported when the first object of its group comes."""
    name, group = kind.__name__, kind.facts.group if issubclass(kind, StrictObject) else ""
    if name in WITHOUT_CHECKS:
        return ()
    match group:
        case "":
            return _of_kubernetes()[name]
        case "gateway.networking.k8s.io":
            return _of_gateway_api()[name]
    from agent.api.validation import reserved

    of_group = _of_networking() if group == "networking.istio.io" else _of_policies()
    return (reserved.reserved_annotations, *of_group[name])


def _of_kubernetes() -> Mapping[str, Sequence[Check]]:
    from agent.api.validation import mesh_config

    return {"ConfigMap": (mesh_config.texts,)}


def _of_gateway_api() -> Mapping[str, Sequence[Check]]:
    from agent.api.validation import gateway_api

    return {
        "Gateway": (gateway_api.listeners, gateway_api.waypoint),
        "ListenerSet": (gateway_api.listeners,),
        "HTTPRoute": (gateway_api.http_rules,),
        "GRPCRoute": (gateway_api.grpc_rules,),
        "TCPRoute": (gateway_api.stream_rules,),
        "TLSRoute": (gateway_api.stream_rules,),
    }


def _of_networking() -> Mapping[str, Sequence[Check]]:
    from agent.api.validation import (
        destination_rule,
        envoy_filter,
        extensions,
        gateway,
        service_entry,
        sidecar,
        unreachable,
        virtual_service,
        workloads,
    )

    return {
        "VirtualService": (
            virtual_service.hosts_and_gateways,
            virtual_service.http_routes,
            virtual_service.tls_routes,
            virtual_service.tcp_routes,
            unreachable.routes_that_no_traffic_reaches,
        ),
        "DestinationRule": (
            destination_rule.host_and_callers,
            destination_rule.traffic_policy,
            destination_rule.subsets,
        ),
        "Gateway": (gateway.servers,),
        "ServiceEntry": (service_entry.hosts_and_addresses, service_entry.ports, service_entry.resolution),
        "Sidecar": (sidecar.says_something, sidecar.ingress, sidecar.egress),
        "WorkloadEntry": (workloads.entry,),
        "WorkloadGroup": (workloads.group,),
        "EnvoyFilter": (envoy_filter.patches,),
        "ProxyConfig": (extensions.applies_to,),
    }


def _of_policies() -> Mapping[str, Sequence[Check]]:
    """Those of security.istio.io, telemetry.istio.io and extensions.istio.io."""
    from agent.api.validation import authorization, extensions, request_authentication, security, telemetry

    return {
        "AuthorizationPolicy": (authorization.applies_to, authorization.rules),
        "PeerAuthentication": (security.workloads, security.modes_that_are_not_enforced),
        "RequestAuthentication": (request_authentication.issuers,),
        "Telemetry": (telemetry.applies_to, telemetry.tracing, telemetry.metrics, telemetry.access_logging),
        "WasmPlugin": (extensions.applies_to, extensions.module),
        "TrafficExtension": (extensions.applies_to, extensions.module),
    }
