"""What proxies are told of a ServiceEntry, its endpoints and a WorkloadEntry. Pure rules.

As Istio tells it: what a proxy takes for granted is left out, and an endpoint has the labels and
the tunnel of its ServiceEntry. Ports of endpoints go by their names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agent import wire
from agent.api import kubernetes
from agent.api.networking.service_entry import ServiceEntry, ServicePort
from agent.api.networking.workload_entry import WorkloadEntry, WorkloadTemplate
from agent.controller.candidates import Candidate
from agent.controller.entries import terms
from agent.controller.workloads import canonical_labels, distribution, protocol_of, target, tcp_ports
from agent.proto import workload_pb2 as pb

_GROUP_ANNOTATION: Final = "istio.io/autoRegistrationGroup"
_WORKLOAD_LABEL: Final = "service.istio.io/workload-name"


@dataclass(frozen=True, slots=True)
class Place:
    """The part of the mesh that all are in."""

    cluster: str
    trust_domain: str


def uid(place: Place, entry: ServiceEntry | WorkloadEntry, address: str = "") -> str:
    """The resource name of a WorkloadEntry's workload, or of the endpoint of a ServiceEntry at an address."""
    name = f"{place.cluster}/networking.istio.io/{entry.kind}/{entry.metadata.namespace}/{entry.metadata.name}"
    return f"{name}/{address}" if isinstance(entry, ServiceEntry) else name


def service_name(entry: ServiceEntry, host: str) -> str:
    return f"{entry.metadata.namespace}/{host}"


def service(
    entry: ServiceEntry,
    host: str,
    networks: Iterable[terms.Network],
    *,
    is_private: bool,
    is_canonical: bool,
    annotations: Mapping[str, str],
) -> pb.Service:
    """One host of an entry. annotations: of its namespace."""
    found = pb.Service(
        name=entry.metadata.name,
        namespace=entry.metadata.namespace,
        hostname=host,
        addresses=map(_network_address, networks),
        ports=[_port(port, port.target_port or port.number) for port in ports(entry)],
        subject_alt_names=entry.spec.subject_alt_names,
        canonical=is_canonical,
        visibility=pb.Service.NAMESPACE if is_private else pb.Service.PUBLIC,
    )
    if entry.spec.resolution == "NONE":
        # Nothing is chosen, so nothing is left out for its health.
        passed = pb.LoadBalancing(mode=pb.LoadBalancing.PASSTHROUGH, health_policy=pb.LoadBalancing.ALLOW_ALL)
        found.load_balancing.CopyFrom(passed)
    elif scopes := distribution("", entry.metadata.annotations, annotations):
        wished = pb.LoadBalancing(routing_preference=scopes, mode=pb.LoadBalancing.FAILOVER)
        found.load_balancing.CopyFrom(wished)
    return found


def endpoint(
    place: Place, entry: ServiceEntry, at: WorkloadTemplate, services: Iterable[str], policies: Iterable[str]
) -> pb.Workload:
    """One endpoint of an entry, which is part of these services."""
    metadata = entry.metadata
    found = _workload(place, entry, at, metadata.labels, metadata.name, policies)
    found.uid = uid(place, entry, at.address)
    for name in services:
        found.services[name].CopyFrom(ports_at(entry, at.ports))
    return found


def entry_workload(place: Place, entry: WorkloadEntry, policies: Iterable[str]) -> pb.Workload:
    """A WorkloadEntry, as yet without services."""
    labels = terms.labels_of(entry)
    group = entry.metadata.annotations.get(_GROUP_ANNOTATION)
    name = group or labels.get(_WORKLOAD_LABEL) or entry.metadata.name
    found = _workload(place, entry, entry.spec, labels, name, policies)
    found.uid = uid(place, entry)
    return found


def ports(entry: ServiceEntry) -> list[ServicePort]:
    """Those that a proxy carries."""
    return [port for port in entry.spec.ports if port.protocol.upper() != "UDP"]


def ports_at(entry: ServiceEntry, named: Mapping[str, int]) -> pb.PortList:
    """An entry's ports at an endpoint, whose own are known by the names of the service's."""
    return pb.PortList(
        ports=[_port(port, named.get(port.name) or port.target_port or port.number) for port in ports(entry)]
    )


def ports_of_pod(entry: ServiceEntry, candidate: Candidate) -> pb.PortList:
    """An entry's ports at a pod that it selects: those of its containers that have the same name come first."""
    return ports_at(entry, candidate.named_ports)


def ports_of_service(found: kubernetes.Service, named: Mapping[str, int]) -> pb.PortList:
    """A Kubernetes Service's ports at a WorkloadEntry, which leaves out those that the Service only names."""
    result = pb.PortList()
    for port in tcp_ports(found):
        number = target(port, named) if isinstance(port.target_port, str) else named.get(port.name) or target(port, {})
        if number is not None:
            result.ports.append(pb.Port(service_port=port.port, target_port=number, app_protocol=protocol_of(port)))
    return result


def _workload(
    place: Place,
    entry: ServiceEntry | WorkloadEntry,
    at: WorkloadTemplate,
    labels: Mapping[str, str],
    name: str,
    policies: Iterable[str],
) -> pb.Workload:
    metadata = entry.metadata
    canonical_name, canonical_revision = canonical_labels(labels, name)
    address = terms.canonical(at.address)
    tunnelled = terms.is_tunnelled(labels, metadata.annotations)
    found = pb.Workload(
        name=metadata.name,
        namespace=metadata.namespace,
        addresses=[ipaddress.ip_address(address).packed] if address is not None else [],
        hostname=at.address if address is None else "",
        network=at.network,
        tunnel_protocol=pb.TunnelProtocol.HBONE if tunnelled else pb.TunnelProtocol.NONE,
        native_tunnel=terms.takes_hbone_itself(labels),
        trust_domain="" if place.trust_domain == wire.DEFAULT_TRUST_DOMAIN else place.trust_domain,
        service_account="" if at.service_account == "default" else at.service_account,
        canonical_name=canonical_name,
        canonical_revision=canonical_revision,
        workload_type=pb.WorkloadType.POD,
        workload_name=name,
        cluster_id="" if place.cluster == wire.DEFAULT_CLUSTER else place.cluster,
        authorization_policies=policies,
    )
    region, zone, subzone = (*at.locality.split("/", 2), "", "", "")[:3]
    if region:
        found.locality.CopyFrom(pb.Locality(region=region, zone=zone, subzone=subzone))
    if at.weight:
        found.capacity.value = at.weight
    return found


def _network_address(network: terms.Network) -> pb.NetworkAddress:
    found = pb.NetworkAddress(address=network.network_address.packed)
    if network.num_addresses > 1:
        found.length = network.prefixlen
    return found


def _port(port: ServicePort, number: int) -> pb.Port:
    return pb.Port(service_port=port.number, target_port=number, app_protocol=_protocol(port.protocol))


def _protocol(name: str) -> pb.AppProtocol.ValueType:
    return _PROTOCOLS.get(name.lower(), pb.AppProtocol.UNKNOWN)


_PROTOCOLS: Final = {
    "http": pb.AppProtocol.HTTP11,
    "http2": pb.AppProtocol.HTTP2,
    "grpc": pb.AppProtocol.GRPC,
    "https": pb.AppProtocol.TLS,
    "tls": pb.AppProtocol.TLS,
    "tcp": pb.AppProtocol.TCP,
}
