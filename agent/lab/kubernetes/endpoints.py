"""What the API server says of services and their endpoints, as the rules of a node and as names. Rules only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from agent.api.cluster_network import Endpoint, EndpointSlice
from agent.api.kubernetes import Service
from agent.kube import Object
from agent.lab.addresses import CONTROL_ADDRESS
from agent.lab.kubernetes.variables import API_SERVICE
from agent.lab.services import Backend

API_PORT = 6443
_SERVICE_LABEL = "kubernetes.io/service-name"


def slices_of(service: Service, slices: Iterable[EndpointSlice]) -> list[EndpointSlice]:
    """The slices of a service, in order of their names."""
    metadata = service.metadata
    return sorted(
        (
            found
            for found in slices
            if found.metadata.namespace == metadata.namespace
            and found.metadata.labels.get(_SERVICE_LABEL) == metadata.name
        ),
        key=lambda found: found.metadata.name,
    )


def backends(services: Iterable[Service], slices: Sequence[EndpointSlice]) -> list[Backend]:
    """What every node must know, in a fixed order: as kube-proxy, ready endpoints or, if there are none, those that
    end but still serve."""
    found: list[Backend] = []
    for service in services:
        own = slices_of(service, slices)
        for address in service.spec.virtual_addresses:
            family = [each for each in own if each.address_type == f"IPv{ip_address(address).version}"]
            for port in service.spec.ports:
                pairs = [
                    (endpoint, number.port)
                    for each in family
                    for number in each.ports
                    if number.name == port.name and number.protocol == port.protocol and number.port is not None
                    for endpoint in each.endpoints
                ]
                chosen = tuple(
                    sorted({(host, number) for endpoint, number in _usable(pairs) for host in endpoint.addresses})
                )
                found.append(Backend(address, port.protocol.lower(), port.port, chosen))
    return sorted(found)


def published(service: Service, slices: Sequence[EndpointSlice]) -> list[str]:
    """The addresses that a service's names stand for."""
    if not service.spec.is_headless:
        return list(service.spec.virtual_addresses)
    every = [endpoint for each in slices_of(service, slices) for endpoint in each.endpoints]
    return sorted({address for endpoint in every if endpoint.conditions.ready for address in endpoint.addresses})


def api_slice() -> Object:
    """The endpoint of the API server's own service: where the lab has joined it to its network."""
    namespace, name = API_SERVICE
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {_SERVICE_LABEL: name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(CONTROL_ADDRESS.v4)], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": API_PORT, "protocol": "TCP"}],
    }


def _usable(pairs: Sequence[tuple[Endpoint, int]]) -> list[tuple[Endpoint, int]]:
    ready = [pair for pair in pairs if pair[0].conditions.ready]
    return ready or [pair for pair in pairs if pair[0].conditions.serving and pair[0].conditions.terminating]
