"""The listeners of a Gateway and of a ListenerSet, and which routes may attach to them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, StrictStr, model_validator

from agent.api.gateway_api.fields import (
    DNS_NAME,
    Group,
    Hostname,
    KindName,
    Options,
    PortNumber,
    SectionName,
    items,
    matching,
    unique,
)
from agent.api.gateway_api.objects import GROUP
from agent.api.gateway_api.references import SecretReference
from agent.api.label_selector import LabelSelector
from agent.api.strict import StrictPart

_PLAIN: Final = ("HTTP", "TCP", "UDP")
_WITHOUT_HOSTS: Final = ("TCP", "UDP")
_PROTOCOL: Final = rf"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?|{DNS_NAME}/[A-Za-z0-9]+"

ProtocolName = Annotated[
    StrictStr,
    matching(_PROTOCOL, "a name or DOMAIN/NAME", 255),
]


class RouteNamespaces(StrictPart):
    from_: Literal["All", "Selector", "Same"] = Field(default="Same", alias="from")
    selector: LabelSelector | None = None


class RouteKind(StrictPart):
    group: Group = GROUP
    kind: KindName


class AllowedRoutes(StrictPart):
    """Routes of which kinds (none: those of the protocol) and from where may attach."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: Annotated[tuple[RouteKind, ...], items(8)] = ()


class ListenerTls(StrictPart):
    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: Annotated[tuple[SecretReference, ...], items(64)] = ()
    options: Options = Field(default_factory=dict)

    @model_validator(mode="after")
    def _terminates_with_something(self) -> Self:
        if self.mode == "Terminate" and not self.certificate_refs and not self.options:
            raise ValueError("accepted is at least one of certificateRefs and options with mode Terminate")
        return self


class Listener(StrictPart):
    """One port, protocol and host name on which traffic is taken."""

    name: SectionName
    hostname: Hostname = ""
    port: PortNumber
    protocol: ProtocolName
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()

    @model_validator(mode="after")
    def _fields_suit_the_protocol(self) -> Self:
        if self.protocol in _PLAIN and self.tls is not None:
            raise ValueError(f"tls: not accepted with protocol {self.protocol}")
        if self.protocol == "HTTPS" and self.tls is not None and self.tls.mode != "Terminate":
            raise ValueError("tls.mode: accepted is Terminate with protocol HTTPS")
        if self.protocol == "TLS" and self.tls is None:
            raise ValueError("tls: missing; protocol TLS needs it")
        if self.protocol in _WITHOUT_HOSTS and self.hostname:
            raise ValueError(f"hostname: not accepted with protocol {self.protocol}")
        return self


def _place(listener: Listener) -> tuple[int, str, str]:
    return listener.port, listener.protocol, listener.hostname


def _name(listener: Listener) -> str:
    return listener.name


Listeners = Annotated[
    tuple[Listener, ...],
    items(64, least=1),
    unique(_name, "listener name"),
    unique(_place, "port, protocol and hostname"),
]
