"""Which checks there are for which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from agent.api.configuration import ConfigMap
from agent.api.kubernetes import Resource
from agent.api.networking.virtual_service import VirtualService
from agent.api.security import PeerAuthentication
from agent.api.validation import mesh_config, security, unreachable, virtual_service
from agent.api.validation.remarks import Remark

Check = Callable[[Any], Iterator[Remark]]  # takes a resource of the kind that it is listed under

CHECKS: Final[Mapping[type, Sequence[Check]]] = {
    ConfigMap: (mesh_config.mesh_settings,),
    VirtualService: (
        virtual_service.hosts_and_gateways,
        virtual_service.http_routes,
        virtual_service.tls_routes,
        virtual_service.tcp_routes,
        unreachable.routes_that_no_traffic_reaches,
    ),
    PeerAuthentication: (security.modes_that_are_not_enforced,),
}


def checks_of(resource: Resource) -> Iterator[Remark]:
    """What the checks of its kind say of a resource."""
    for check in CHECKS.get(type(resource), ()):
        yield from check(resource)
