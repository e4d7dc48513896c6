"""What counts of Kubernetes' objects: a pod as an endpoint, where it stands, and whose addresses are whose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent import model
from agent.api import kubernetes
from agent.controller.entries.claims import Claim, Role
from agent.controller.entries.terms import canonical
from agent.controller.touched import Holder


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod and what an endpoint needs besides: numbers of its named TCP ports."""

    pod: model.Pod
    named_ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a node stands, from its labels."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


def candidate_of(pod: kubernetes.Pod | kubernetes.StatedPod) -> Candidate:
    ports = [port for container in pod.spec.containers for port in container.ports]
    named = {port.name: port.container_port for port in ports if port.name and port.protocol == "TCP"}
    return Candidate(kubernetes.to_pod(pod), named)


def locality_of(labels: Mapping[str, str]) -> Locality:
    return Locality(
        region=labels.get("topology.kubernetes.io/region", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        subzone=labels.get("topology.istio.io/subzone", ""),
    )


def addresses_of_node(node: kubernetes.Node) -> list[str]:
    """Its addresses; its status has its names too."""
    found = (canonical(each.address) for each in node.status.addresses)
    return [address for address in found if address is not None]


def claims_of_service(service: kubernetes.Service) -> Iterator[tuple[str, Claim]]:
    """Its virtual addresses, and those of its load balancer."""
    holder = Holder("Service", service.metadata.namespace, service.metadata.name)
    for address in service.spec.virtual_addresses:
        yield address, Claim(holder, Role.SERVICE)
    for each in service.status.load_balancer.ingress:
        if (front := canonical(each.ip)) is not None:
            yield front, Claim(holder, Role.FRONT)
