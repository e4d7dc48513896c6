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
from agent.controller.cluster import Candidate, Locality, selects
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
_PROTOCOLS: Final = {
    "http": pb.AppProtocol.HTTP11,
    "http2": pb.AppProtocol.HTTP2,
    "kubernetes.io/h2c": pb.AppProtocol.HTTP2,
    "grpc": pb.AppProtocol.GRPC,
    "https": pb.AppProtocol.TLS,
    "tls": pb.AppProtocol.TLS,
    "tcp": pb.AppProtocol.TCP,
}
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
    found = pb.Workload(
        uid=workload_uid(cluster, pod.namespace, pod.name),
        name=pod.name,
        namespace=pod.namespace,
        addresses=[ipaddress.ip_address(address).packed for address in pod.addresses],
        tunnel_protocol=_tunnel(pod),
        trust_domain="" if trust_domain == wire.DEFAULT_TRUST_DOMAIN else trust_domain,
        service_account="" if pod.service_account == "default" else pod.service_account,
        node=pod.node,
        canonical_name=_first(pod, _NAME_LABELS, pod.workload_name),
        canonical_revision=_first(pod, _REVISION_LABELS, "latest"),
        workload_type=_TYPES[pod.workload_type],
        workload_name=pod.workload_name,
        status=_status(pod),
        cluster_id="" if cluster == wire.DEFAULT_CLUSTER else cluster,
        authorization_policies=policies,
        network_mode=pb.NetworkMode.HOST_NETWORK if pod.host_network else pb.NetworkMode.STANDARD,
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


def service(found: kubernetes.Service) -> pb.Address:
    """The resource of a service that is routed."""
    spec = found.spec
    result = pb.Service(
        name=found.metadata.name,
        namespace=found.metadata.namespace,
        hostname=hostname(found),
        addresses=[
            pb.NetworkAddress(address=ipaddress.ip_address(address).packed) for address in spec.virtual_addresses
        ],
        ports=[
            pb.Port(service_port=port.port, target_port=_target(port, {}) or 0, app_protocol=app_protocol(port))
            for port in _tcp_ports(found)
        ],
        ip_families=_FAMILIES[frozenset(spec.ip_families)],
        canonical=True,
    )
    balancing = _load_balancing(found)
    if balancing != pb.LoadBalancing():
        result.load_balancing.CopyFrom(balancing)
    return pb.Address(service=result)


def _tunnel(pod: Pod) -> pb.TunnelProtocol.ValueType:
    # A pod in the host's network is never enrolled, whatever it says of itself.
    enrolled = pod.annotations.get(wire.REDIRECTION_ANNOTATION) == wire.REDIRECTION_ENABLED
    return pb.TunnelProtocol.HBONE if enrolled and not pod.host_network else pb.TunnelProtocol.NONE


def _status(pod: Pod) -> pb.WorkloadStatus.ValueType:
    healthy = pod.is_ready and not pod.is_terminating
    return pb.WorkloadStatus.HEALTHY if healthy else pb.WorkloadStatus.UNHEALTHY


def _first(pod: Pod, labels: Iterable[str], otherwise: str) -> str:
    return next((value for label in labels if (value := pod.labels.get(label))), otherwise)


def _tcp_ports(service: kubernetes.Service) -> list[kubernetes.ServicePort]:
    return [port for port in service.spec.ports if port.protocol == "TCP"]


def _endpoint_ports(service: kubernetes.Service, candidate: Candidate) -> pb.PortList:
    """The service's ports as this pod serves them; a name that the pod does not have is left out."""
    ports = ((port, _target(port, candidate.named_ports)) for port in _tcp_ports(service))
    return pb.PortList(
        ports=[
            pb.Port(service_port=port.port, target_port=target, app_protocol=app_protocol(port))
            for port, target in ports
            if target is not None
        ]
    )


def _target(port: kubernetes.ServicePort, named_ports: Mapping[str, int]) -> int | None:
    if port.target_port is None:
        return port.port
    return named_ports.get(port.target_port) if isinstance(port.target_port, str) else port.target_port


def app_protocol(port: kubernetes.ServicePort) -> pb.AppProtocol.ValueType:
    """From appProtocol, else from a port name such as http or grpc-web."""
    declared = port.app_protocol.lower() or port.name.partition("-")[0]
    return _PROTOCOLS.get(declared, pb.AppProtocol.UNKNOWN)


def _load_balancing(service: kubernetes.Service) -> pb.LoadBalancing:
    """internalTrafficPolicy Local is a must and wins over a preference of where to go."""
    spec = service.spec
    policy = pb.LoadBalancing.ALLOW_ALL if spec.publish_not_ready_addresses else pb.LoadBalancing.ONLY_HEALTHY
    if spec.internal_traffic_policy == "Local":
        return pb.LoadBalancing(routing_preference=[_Scope.NODE], mode=pb.LoadBalancing.STRICT, health_policy=policy)
    wished = spec.traffic_distribution or service.metadata.annotations.get(_DISTRIBUTION_ANNOTATION, "")
    scopes = _DISTRIBUTIONS.get(wished.lower(), ())
    mode = pb.LoadBalancing.FAILOVER if scopes else pb.LoadBalancing.UNSPECIFIED_MODE
    return pb.LoadBalancing(routing_preference=scopes, mode=mode, health_policy=policy)
