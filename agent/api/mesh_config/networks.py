"""MeshNetworks, the companion of MeshConfig under the key `meshNetworks`: which networks there are."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from agent.api.mesh_config.fields import PortNumber, is_domain
from agent.api.scalars import Text
from agent.api.strict import OneOf, StrictPart


def _block(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as exc:
        raise ValueError("accepted is an address or a CIDR block") from exc


def _gateway(value: str) -> str:
    if is_domain(value):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as exc:
        raise ValueError("accepted is an address or a host name") from exc


class NetworkEndpoints(StrictPart):
    """Endpoints of the network: those in a block, or those of a cluster."""

    one_ofs = (OneOf(("fromCidr", "fromRegistry")),)

    from_cidr: Annotated[StrictStr, AfterValidator(_block)] = ""
    from_registry: Text = ""


class NetworkGateway(StrictPart):
    """Where the network is entered from others."""

    one_ofs = (OneOf(("registryServiceName", "address")),)

    registry_service_name: Text = ""
    address: Annotated[StrictStr, AfterValidator(_gateway)] = ""
    port: PortNumber
    locality: StrictStr = ""


class Network(StrictPart):
    endpoints: tuple[NetworkEndpoints, ...] = ()
    gateways: tuple[NetworkGateway, ...] = ()


class MeshNetworks(StrictPart):
    """Networks by name."""

    networks: dict[StrictStr, Network] = Field(default_factory=dict)
