"""GatewayClass, Gateway and ListenerSet: where traffic comes in."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from agent.api.gateway_api.fields import (
    DOMAIN_PATH,
    ControllerName,
    LabelKey,
    LabelValue,
    ObjectName,
    OptionValue,
    PortNumber,
    is_address,
    is_hostname,
    items,
    matching,
    unique,
)
from agent.api.gateway_api.listeners import Listeners, RouteKind
from agent.api.gateway_api.objects import Condition, GatewayObject, gateway_api, pending
from agent.api.gateway_api.references import (
    GatewayReference,
    LocalReference,
    ObjectReference,
    ParametersReference,
    SecretReference,
)
from agent.api.label_selector import LabelSelector
from agent.api.objects import Part
from agent.api.strict import StrictPart

_BORN: Final = pending("Accepted", "Programmed")
AddressType = Annotated[
    StrictStr,
    matching(rf"IPAddress|Hostname|NamedAddress|{DOMAIN_PATH}", "IPAddress, Hostname, NamedAddress or DOMAIN/PATH"),
]


class GatewayClassSpec(StrictPart):
    controller_name: ControllerName
    description: Annotated[StrictStr, Field(max_length=64)] = ""
    parameters_ref: ParametersReference | None = None


class Feature(Part):
    name: StrictStr


class GatewayClassStatus(Part):
    conditions: tuple[Condition, ...] = pending("Accepted")
    supported_features: tuple[Feature, ...] = ()


class GatewayClass(GatewayObject):
    """A sort of Gateway, and the controller that makes Gateways of it."""

    facts = gateway_api("gatewayclasses", "v1", "v1beta1", scope="Cluster")

    spec: GatewayClassSpec
    status: GatewayClassStatus = GatewayClassStatus()


class GatewayAddress(StrictPart):
    """An address asked for; without a value any address of the type."""

    type: AddressType = "IPAddress"
    value: Annotated[StrictStr, Field(max_length=253)] | None = None

    @model_validator(mode="after")
    def _value_is_of_the_type(self) -> Self:
        if self.value is not None and self.type == "IPAddress" and not is_address(self.value):
            raise ValueError("value: accepted is an IPv4 or IPv6 address with type IPAddress")
        if self.value is not None and self.type == "Hostname" and not is_hostname(self.value):
            raise ValueError("value: accepted is a host name in lower case with type Hostname")
        return self


def _distinct_addresses(addresses: tuple[GatewayAddress, ...]) -> tuple[GatewayAddress, ...]:
    given = [(item.type, item.value) for item in addresses if item.value is not None]
    for type, value in given:
        if type in ("IPAddress", "Hostname") and given.count((type, value)) > 1:
            raise ValueError(f"{type} {value} is there {given.count((type, value))} times; accepted is once")
    return addresses


class ListenerNamespaces(StrictPart):
    from_: Literal["All", "Selector", "Same", "None"] = Field(default="None", alias="from")
    selector: LabelSelector | None = None


class AllowedListeners(StrictPart):
    """From which namespaces ListenerSets may attach: none, unless it says so."""

    namespaces: ListenerNamespaces = ListenerNamespaces()


class Infrastructure(StrictPart):
    """What the objects made for the Gateway carry, and how they are made."""

    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=8)] = Field(default_factory=dict)
    annotations: Annotated[dict[LabelKey, OptionValue], Field(max_length=16)] = Field(default_factory=dict)
    parameters_ref: LocalReference | None = None


class ClientValidation(StrictPart):
    """Who vouches for clients of a gateway."""

    ca_certificate_refs: Annotated[tuple[ObjectReference, ...], Field(alias="caCertificateRefs"), items(16, least=1)]
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = "AllowValidOnly"


class FrontendTlsSettings(StrictPart):
    validation: ClientValidation | None = None


class PortTls(StrictPart):
    port: PortNumber
    tls: FrontendTlsSettings


def _port(setting: PortTls) -> Hashable:
    return setting.port


class FrontendTls(StrictPart):
    """TLS towards clients, on HTTPS listeners: of each port, else the default."""

    default: FrontendTlsSettings
    per_port: Annotated[tuple[PortTls, ...], items(64), unique(_port, "port")] = ()


class BackendTls(StrictPart):
    """TLS towards backends: the certificate that the gateway shows them."""

    client_certificate_ref: SecretReference | None = None


class GatewayTls(StrictPart):
    frontend: FrontendTls | None = None
    backend: BackendTls | None = None


class GatewaySpec(StrictPart):
    gateway_class_name: ObjectName
    listeners: Listeners
    addresses: Annotated[tuple[GatewayAddress, ...], items(16), AfterValidator(_distinct_addresses)] = ()
    infrastructure: Infrastructure | None = None
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTls | None = None
    default_scope: Literal["All", "None"] | None = None


class AssignedAddress(Part):
    type: AddressType = "IPAddress"
    value: StrictStr


class ListenerStatus(Part):
    name: StrictStr
    supported_kinds: tuple[RouteKind, ...] = ()
    attached_routes: StrictInt = 0
    conditions: tuple[Condition, ...] = ()


class GatewayStatus(Part):
    """addresses: those that it has; a waypoint without any is not there yet."""

    addresses: tuple[AssignedAddress, ...] = ()
    conditions: tuple[Condition, ...] = _BORN
    listeners: tuple[ListenerStatus, ...] = ()
    attached_listener_sets: StrictInt = 0


class Gateway(GatewayObject):
    """A request for a gateway or a waypoint."""

    facts = gateway_api("gateways", "v1", "v1beta1")

    spec: GatewaySpec
    status: GatewayStatus = GatewayStatus()


class ListenerSetSpec(StrictPart):
    parent_ref: GatewayReference
    listeners: Listeners


class ListenerSetStatus(Part):
    conditions: tuple[Condition, ...] = _BORN
    listeners: tuple[ListenerStatus, ...] = ()


class ListenerSet(GatewayObject):
    """Listeners that its owner adds to somebody else's Gateway."""

    facts = gateway_api("listenersets", "v1")

    spec: ListenerSetSpec
    status: ListenerSetStatus = ListenerSetStatus()
