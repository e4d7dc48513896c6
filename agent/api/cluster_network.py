"""Typed models of how a cluster's network is used without a mesh: endpoints, Ingress and NetworkPolicy."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr

from agent.api.fields import PortNumber, PortReference, Protocol
from agent.api.label_selector import LabelSelector
from agent.api.objects import NamedObject, Part


def _block(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as exc:
        raise ValueError("accepted is a CIDR block") from exc


Block = Annotated[StrictStr, AfterValidator(_block)]


class EndpointConditions(Part):
    """Absent means unknown, which counts as ready and serving, and not as terminating."""

    ready: StrictBool = True
    serving: StrictBool = True
    terminating: StrictBool = False


class ObjectName(Part):
    kind: StrictStr = ""
    namespace: StrictStr = ""
    name: StrictStr = ""
    uid: StrictStr = ""


class Zone(Part):
    name: StrictStr


class Hints(Part):
    """Zones whose clients should use the endpoint; none if it is for all."""

    for_zones: tuple[Zone, ...] = ()


class Endpoint(Part):
    addresses: tuple[StrictStr, ...]
    conditions: EndpointConditions = EndpointConditions()
    hostname: StrictStr = ""
    node_name: StrictStr = ""
    zone: StrictStr = ""
    target_ref: ObjectName | None = None
    hints: Hints = Hints()


class EndpointPort(Part):
    """A port of every endpoint; without a number, all ports."""

    name: StrictStr = ""
    port: StrictInt | None = None
    protocol: Protocol = "TCP"
    app_protocol: StrictStr = ""


class EndpointSlice(NamedObject):
    """discovery.k8s.io/v1 EndpointSlice; its label kubernetes.io/service-name says whose."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class IngressPort(Part):
    number: StrictInt | None = None
    name: StrictStr = ""


class IngressService(Part):
    name: StrictStr
    port: IngressPort = IngressPort()


class IngressBackend(Part):
    service: IngressService | None = None


class IngressPath(Part):
    path: StrictStr = ""
    path_type: Literal["Exact", "Prefix", "ImplementationSpecific"] = "ImplementationSpecific"
    backend: IngressBackend


class IngressHttp(Part):
    paths: tuple[IngressPath, ...] = ()


class IngressRule(Part):
    host: StrictStr = ""
    http: IngressHttp | None = None


class IngressTls(Part):
    hosts: tuple[StrictStr, ...] = ()
    secret_name: StrictStr = ""


class IngressSpec(Part):
    ingress_class_name: StrictStr = ""
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTls, ...] = ()


class Ingress(NamedObject):
    """networking.k8s.io/v1 Ingress."""

    spec: IngressSpec = IngressSpec()


class IngressClassSpec(Part):
    controller: StrictStr = ""


class IngressClass(NamedObject):
    """networking.k8s.io/v1 IngressClass."""

    spec: IngressClassSpec = IngressClassSpec()


class IpBlock(Part):
    cidr: Block
    except_: tuple[Block, ...] = Field(default=(), alias="except")


class NetworkPeer(Part):
    """Pods of the policy's namespace or, with a namespace selector, of others; or addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


class NetworkPort(Part):
    """A port, or all up to `end_port`; without one, all ports."""

    protocol: Protocol = "TCP"
    port: PortReference | None = None
    end_port: PortNumber | None = None


class IngressAllowed(Part):
    """Peers and ports that may come in; none of either is any."""

    from_: tuple[NetworkPeer, ...] = Field(default=(), alias="from")
    ports: tuple[NetworkPort, ...] = ()


class EgressAllowed(Part):
    """Peers and ports that may be reached; none of either is any."""

    to: tuple[NetworkPeer, ...] = ()
    ports: tuple[NetworkPort, ...] = ()


class NetworkPolicySpec(Part):
    """policy_types: directions that are closed but for what is allowed; absent, Ingress and those with rules."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[Literal["Ingress", "Egress"], ...] = ()
    ingress: tuple[IngressAllowed, ...] = ()
    egress: tuple[EgressAllowed, ...] = ()

    @property
    def directions(self) -> tuple[Literal["Ingress", "Egress"], ...]:
        if self.policy_types:
            return self.policy_types
        return ("Ingress", "Egress") if self.egress else ("Ingress",)


class NetworkPolicy(NamedObject):
    """networking.k8s.io/v1 NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()
