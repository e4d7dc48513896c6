"""Endpoints that nobody selects: what EndpointSlices say of a service without a selector. Pure rules.

A service with a selector has the pods that it selects, of which far more is known than an
EndpointSlice says, and its slices are of no interest. One without has what somebody wrote: pods
of its namespace, or plain addresses. Of such an address nothing is known: it may be any number
of machines', so no traffic to the address itself is ever attributed to it, only the service's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from agent import wire
from agent.api.cluster_network import Endpoint, EndpointSlice
from agent.api.kubernetes import Service
from agent.controller.entries.terms import canonical
from agent.controller.slices import SERVICE_LABEL
from agent.controller.workloads import is_routed, protocol_of, service_name
from agent.model import Pod
from agent.proto import workload_pb2 as pb


@dataclass(slots=True)
class _Address:
    ports: dict[int, pb.Port] = field(default_factory=dict)
    is_ready: bool = False


def endpoint_uid(cluster: str, service: Service, address: str) -> str:
    """The resource name of one endpoint."""
    metadata = service.metadata
    return f"{cluster}/discovery.k8s.io/EndpointSlice/{metadata.namespace}/{metadata.name}/{address}"


def endpoints(
    service: Service,
    slices: Collection[EndpointSlice],
    is_pod: Callable[[str], bool],
    *,
    cluster: str,
    trust_domain: str,
) -> Iterator[pb.Address]:
    """The resources of its plain addresses, in their order. `slices` are those of the service.

    is_pod: whether a pod has an address. It is the endpoint then, whoever names it, with its identity and tunnel.
    """
    if not _counts(service):
        return
    for address, found in sorted(_addresses(service, slices).items()):
        if is_pod(address):
            continue
        workload = pb.Workload(
            uid=endpoint_uid(cluster, service, address),
            name=service.metadata.name,
            namespace=service.metadata.namespace,
            addresses=[ipaddress.ip_address(address).packed],
            trust_domain="" if trust_domain == wire.DEFAULT_TRUST_DOMAIN else trust_domain,
            cluster_id="" if cluster == wire.DEFAULT_CLUSTER else cluster,
            status=pb.WorkloadStatus.HEALTHY if found.is_ready else pb.WorkloadStatus.UNHEALTHY,
            network_mode=pb.NetworkMode.HOST_NETWORK,
        )
        workload.services[service_name(service)].ports.extend(port for _, port in sorted(found.ports.items()))
        yield pb.Address(workload=workload)


def memberships(
    pod: Pod, slices: Collection[EndpointSlice], services: Mapping[tuple[str, str], Service]
) -> Iterator[tuple[Service, list[pb.Port]]]:
    """The services without a selector that have the pod for an endpoint, with the ports that it serves for them."""
    found: dict[tuple[str, str], tuple[Service, dict[int, pb.Port]]] = {}
    for each in slices:
        service = services.get((each.metadata.namespace, each.metadata.labels.get(SERVICE_LABEL, "")))
        if service is None or not _counts(service) or not any(_is_pod(endpoint, pod) for endpoint in each.endpoints):
            continue
        _, ports = found.setdefault((service.metadata.namespace, service.metadata.name), (service, {}))
        ports |= _ports(service, each)
    for service, ports in found.values():
        yield service, [port for _, port in sorted(ports.items())]


def _counts(service: Service) -> bool:
    return is_routed(service) and not service.spec.selector


def _addresses(service: Service, slices: Collection[EndpointSlice]) -> dict[str, _Address]:
    found: dict[str, _Address] = {}
    for each in slices:
        ports = _ports(service, each)
        for endpoint in each.endpoints if each.address_type != "FQDN" else ():
            if endpoint.target_ref is not None and endpoint.target_ref.kind == "Pod":
                continue
            # Kubernetes gives each family a slice of its own, and one address to each endpoint.
            for address in filter(None, map(canonical, endpoint.addresses[:1])):
                known = found.setdefault(address, _Address())
                known.ports |= ports
                known.is_ready |= endpoint.conditions.ready
    return found


def _ports(service: Service, found: EndpointSlice) -> dict[int, pb.Port]:
    """By the service's port: a slice names its ports as the service does."""
    by_name = {port.name: port for port in service.spec.ports if port.protocol == "TCP"}
    return {
        by_name[each.name].port: pb.Port(
            service_port=by_name[each.name].port,
            target_port=each.port,
            app_protocol=protocol_of(by_name[each.name]),
        )
        for each in found.ports
        if each.protocol == "TCP" and each.port is not None and each.name in by_name
    }


def _is_pod(endpoint: Endpoint, pod: Pod) -> bool:
    """Whether the endpoint is this pod, and at one of its addresses: it may name a pod that was there before.

    One that names nobody is whoever has its address. Of that pod it knows no more than that it takes connections.
    """
    target = endpoint.target_ref
    if target is None:
        is_meant = endpoint.conditions.ready and not pod.host_network
    else:
        name = (target.namespace or pod.namespace, target.name)
        is_meant = target.kind == "Pod" and name == (pod.namespace, pod.name)
    return is_meant and any(canonical(address) in pod.addresses for address in endpoint.addresses)
