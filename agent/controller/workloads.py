"""Which Address resource follows from a pod or a service. Pure rules.

What a proxy takes for granted is left out on the wire: trust domain cluster.local, service
account default, cluster Kubernetes, capacity 1, the default network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from agent import wire
from agent.api import kubernetes
from agent.controller.candidates import Candidate, Locality
from agent.controller.cluster import selects
from agent.controller.entries.terms import takes_hbone_itself
from agent.model import Pod
from agent.proto import workload_pb2 as pb

_TYPES: Final = {
    "deployment": pb.WorkloadType.DEPLOYMENT,
    "cronjob": pb.WorkloadType.CRONJOB,
    "job": pb.WorkloadType.JOB,
    "pod": pb.WorkloadType.POD,
}
_NAME_LABELS: Final = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISION_LABELS: Final = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_FAMILIES: Final = {
    frozenset[str](): pb.IPFamilies.AUTOMATIC,
    frozenset({"IPv4"}): pb.IPFamilies.IPV4_ONLY,
    frozenset({"IPv6"}): pb.IPFamilies.IPV6_ONLY,
    frozenset({"IPv4", "IPv6"}): pb.IPFamilies.DUAL,
}
# Ports of old protocols that wait for the server to speak first, if nobody says what is spoken: SMTP, DNS, MySQL,
# MongoDB. As Istio.
_PORTS_OF_TCP: Final = frozenset({25, 53, 3306, 27017})
_PROTOCOLS: Final = {
    "http": pb.AppProtocol.HTTP11,
    "http2": pb.AppProtocol.HTTP2,
    "kubernetes.io/h2c": pb.AppProtocol.HTTP2,
    "kubernetes.io/ws": pb.AppProtocol.HTTP11,
    "kubernetes.io/wss": pb.AppProtocol.TLS,
    "grpc": pb.AppProtocol.GRPC,
    "https": pb.AppProtocol.TLS,
    "tls": pb.AppProtocol.TLS,
    "tcp": pb.AppProtocol.TCP,
}
# What Istio knows by name but has no word for on the wire.
_NAMED: Final = ("mongo", "redis", "mysql", "udp", "http_proxy")
_NO_ANNOTATIONS: Final[Mapping[str, str]] = {}
_DISTRIBUTION_ANNOTATION: Final = "networking.istio.io/traffic-distribution"
_Scope = pb.LoadBalancing.Scope
_SAME_ZONE: Final = (_Scope.NETWORK, _Scope.REGION, _Scope.ZONE)
_DISTRIBUTIONS: Final = {
    "preferclose": _SAME_ZONE,
    "prefersamezone": _SAME_ZONE,
    "prefersamenode": (*_SAME_ZONE, _Scope.SUBZONE, _Scope.NODE),
}


def workload_uid(cluster: str, namespace: str, name: str) -> str:
    """The resource name of a pod's workload."""
    return f"{cluster}//Pod/{namespace}/{name}"


def service_name(service: kubernetes.Service) -> str:
    """The resource name of a service: NAMESPACE/HOSTNAME."""
    return f"{service.metadata.namespace}/{hostname(service)}"


def hostname(service: kubernetes.Service) -> str:
    metadata = service.metadata
    return f"{metadata.name}.{metadata.namespace}.svc.{wire.DEFAULT_CLUSTER_DOMAIN}"


def is_published(pod: Pod) -> bool:
    """A pod without an address cannot be reached yet; one that has finished gave its address back."""
    return bool(pod.addresses) and not pod.is_finished


def workload(
    candidate: Candidate,
    services: Iterable[kubernetes.Service],
    *,
    cluster: str,
    trust_domain: str,
    locality: Locality = Locality(),  # noqa: B008  # frozen
    policies: Iterable[str] = (),
) -> pb.Address:
    """The resource of a pod that is published; `services` are those of its namespace, `policies` what it lists."""
    pod = candidate.pod
    canonical_name, canonical_revision = canonical_labels(pod.labels, pod.workload_name)
    found = pb.Workload(
        uid=workload_uid(cluster, pod.namespace, pod.name),
        name=pod.name,
        namespace=pod.namespace,
        addresses=[ipaddress.ip_address(address).packed for address in pod.addresses],
        tunnel_protocol=_tunnel(pod),
        trust_domain="" if trust_domain == wire.DEFAULT_TRUST_DOMAIN else trust_domain,
        service_account="" if pod.service_account == "default" else pod.service_account,
        node=pod.node,
        canonical_name=canonical_name,
        canonical_revision=canonical_revision,
        workload_type=_TYPES[pod.workload_type],
        workload_name=pod.workload_name,
        status=_status(pod),
        cluster_id="" if cluster == wire.DEFAULT_CLUSTER else cluster,
        authorization_policies=policies,
        network_mode=pb.NetworkMode.HOST_NETWORK if pod.host_network else pb.NetworkMode.STANDARD,
        native_tunnel=takes_hbone_itself(pod.labels) and not pod.host_network,
    )
    if locality != Locality():
        found.locality.CopyFrom(pb.Locality(region=locality.region, zone=locality.zone, subzone=locality.subzone))
    for each in services:
        if is_routed(each) and selects(each, pod):
            found.services[service_name(each)].CopyFrom(_endpoint_ports(each, candidate))
    return pb.Address(workload=found)


def is_routed(service: kubernetes.Service) -> bool:
    """An ExternalName service is a DNS alias: connections go to whatever it names."""
    return service.spec.type != "ExternalName"


def service(found: kubernetes.Service, annotations: Mapping[str, str] = _NO_ANNOTATIONS) -> pb.Address:
    """The resource of a service that is routed. annotations: of its namespace."""
    spec = found.spec
    result = pb.Service(
        name=found.metadata.name,
        namespace=found.metadata.namespace,
        hostname=hostname(found),
        addresses=[
            pb.NetworkAddress(address=ipaddress.ip_address(address).packed) for address in spec.virtual_addresses
        ],
        ports=[
            pb.Port(service_port=port.port, target_port=target(port, {}) or 0, app_protocol=protocol_of(port))
            for port in tcp_ports(found)
        ],
        ip_families=_FAMILIES[frozenset(spec.ip_families)],
        canonical=True,
    )
    balancing = _load_balancing(found, annotations)
    if balancing != pb.LoadBalancing():
        result.load_balancing.CopyFrom(balancing)
    return pb.Address(service=result)


def _tunnel(pod: Pod) -> pb.TunnelProtocol.ValueType:
    takes_hbone = pod.is_redirected or (takes_hbone_itself(pod.labels) and not pod.host_network)
    return pb.TunnelProtocol.HBONE if takes_hbone else pb.TunnelProtocol.NONE


def _status(pod: Pod) -> pb.WorkloadStatus.ValueType:
    healthy = pod.is_ready and not pod.is_terminating
    return pb.WorkloadStatus.HEALTHY if healthy else pb.WorkloadStatus.UNHEALTHY


def canonical_labels(labels: Mapping[str, str], workload_name: str) -> tuple[str, str]:
    """Canonical name and revision of a workload."""
    return _first(labels, _NAME_LABELS, workload_name), _first(labels, _REVISION_LABELS, "latest")


def _first(labels: Mapping[str, str], names: Iterable[str], otherwise: str) -> str:
    return next((value for name in names if (value := labels.get(name))), otherwise)


def tcp_ports(service: kubernetes.Service) -> list[kubernetes.ServicePort]:
    return [port for port in service.spec.ports if port.protocol == "TCP"]


def _endpoint_ports(service: kubernetes.Service, candidate: Candidate) -> pb.PortList:
    """The service's ports as this pod serves them; a name that the pod does not have is left out."""
    ports = ((port, target(port, candidate.named_ports)) for port in tcp_ports(service))
    return pb.PortList(
        ports=[
            pb.Port(service_port=port.port, target_port=number, app_protocol=protocol_of(port))
            for port, number in ports
            if number is not None
        ]
    )


def target(port: kubernetes.ServicePort, named_ports: Mapping[str, int]) -> int | None:
    """The endpoint's port, None where the service names one that the endpoint does not have."""
    if port.target_port is None:
        return port.port
    return named_ports.get(port.target_port) if isinstance(port.target_port, str) else port.target_port


def protocol_of(port: kubernetes.ServicePort) -> pb.AppProtocol.ValueType:
    """From appProtocol, else from what a port's name begins with, such as http-api. grpc-web is no gRPC."""
    declared = (port.app_protocol or port.name).lower()
    if declared.startswith("grpc-web"):
        return pb.AppProtocol.UNKNOWN
    otherwise = pb.AppProtocol.TCP if port.port in _PORTS_OF_TCP and not declared.startswith(_NAMED) else None
    found = _PROTOCOLS.get(declared, _PROTOCOLS.get(declared.partition("-")[0], otherwise))
    return pb.AppProtocol.UNKNOWN if found is None else found


def distribution(
    wished: str, annotations: Mapping[str, str], of_namespace: Mapping[str, str]
) -> tuple[pb.LoadBalancing.Scope.ValueType, ...]:
    """Where connections prefer to go: as a field says, an annotation, or one of the namespace; nowhere by default."""
    texts = (wished, annotations.get(_DISTRIBUTION_ANNOTATION, ""), of_namespace.get(_DISTRIBUTION_ANNOTATION, ""))
    return _DISTRIBUTIONS.get(next(filter(None, texts), "").lower(), ())


def _load_balancing(service: kubernetes.Service, of_namespace: Mapping[str, str]) -> pb.LoadBalancing:
    """internalTrafficPolicy Local is a must and wins over a preference of where to go."""
    spec = service.spec
    policy = pb.LoadBalancing.ALLOW_ALL if spec.publish_not_ready_addresses else pb.LoadBalancing.ONLY_HEALTHY
    if spec.internal_traffic_policy == "Local":
        return pb.LoadBalancing(routing_preference=[_Scope.NODE], mode=pb.LoadBalancing.STRICT, health_policy=policy)
    scopes = distribution(spec.traffic_distribution, service.metadata.annotations, of_namespace)
    mode = pb.LoadBalancing.FAILOVER if scopes else pb.LoadBalancing.UNSPECIFIED_MODE
    return pb.LoadBalancing(routing_preference=scopes, mode=mode, health_policy=policy)
