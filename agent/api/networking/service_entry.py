"""ServiceEntry: a service that Kubernetes does not know."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictStr

from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.networking.workload_entry import WorkloadEntrySpec
from agent.api.objects import Part
from agent.api.scalars import NotAnyHost, PortNumber, Texts
from agent.api.selectors import NetworkingSelector
from agent.api.strict import AGE, Column, Facts, KeyedBy, OneOf, Rule, Status, StrictObject, StrictPart, rule


class ServicePort(StrictPart):
    """A port of the service."""

    number: PortNumber
    """Number of the port."""
    protocol: Annotated[StrictStr, Field(max_length=256)] = ""
    """HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; found out from the traffic if empty."""
    name: Annotated[StrictStr, Field(max_length=256)]
    """Name of the port."""
    target_port: PortNumber | None = None
    """Port of the endpoints; the same as the service's if absent."""


_ONCE = Rule[tuple[ServicePort, ...]](
    "self.all(l1, self.exists_one(l2, l1.number == l2.number))",
    "accepted is each number once",
    lambda ports: len({port.number for port in ports}) == len(ports),
)


class ServiceEntrySpec(StrictPart):
    """Names and addresses of a service, and where its endpoints are."""

    one_ofs = (OneOf(("workloadSelector", "endpoints")),)

    hosts: Annotated[tuple[NotAnyHost, ...], Field(min_length=1, max_length=256)]
    """Names of the service; wildcards with resolution NONE, STATIC and DYNAMIC_DNS."""
    addresses: Annotated[tuple[Annotated[StrictStr, Field(max_length=64)], ...], Field(max_length=256)] = ()
    """Virtual addresses, or CIDR blocks with resolution NONE and STATIC; one is made up for each host if empty."""
    ports: Annotated[tuple[ServicePort, ...], Field(max_length=256), KeyedBy("name"), _ONCE] = ()
    """Ports of the service."""
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    """Whether the endpoints belong to the mesh, and so speak its mutual TLS."""
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    """How an address is found: the one that was called, that of an endpoint, or through DNS."""
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], Field(max_length=4096)] = ()
    """Endpoints; the hosts themselves with the resolutions through DNS if empty."""
    workload_selector: NetworkingSelector | None = None
    """Pods and WorkloadEntries that are the endpoints; with location MESH_INTERNAL."""
    export_to: Texts = ()
    """Namespaces that see the resource: '.' for its own, '*' for all; as the mesh says if empty, which is all."""
    subject_alt_names: Texts = ()
    """Names of which the server's certificate must carry one."""

    @rule(
        "!((has(self.addresses) ? self.addresses : []).exists(k, k.contains('/')) && "
        "!((has(self.resolution) ? self.resolution : 'NONE') in ['STATIC', 'NONE']))",
        "addresses: a CIDR block is accepted with resolution NONE or STATIC only",
    )
    def _has_blocks_only_as_they_are(self) -> bool:
        return self.resolution in ("STATIC", "NONE") or not any("/" in address for address in self.addresses)

    @rule(
        "((has(self.resolution) ? self.resolution : 'NONE') == 'NONE') ? !has(self.endpoints) : true",
        "endpoints: not accepted with resolution NONE",
    )
    def _has_no_endpoints_without_resolution(self) -> bool:
        return self.resolution != "NONE" or "endpoints" not in self.model_fields_set

    @rule(
        "((has(self.resolution) ? self.resolution : '') == 'DNS_ROUND_ROBIN') ? "
        "((has(self.endpoints) ? self.endpoints : []).size() <= 1) : true",
        "endpoints: at most one is accepted with resolution DNS_ROUND_ROBIN",
    )
    def _has_one_name_to_resolve(self) -> bool:
        return self.resolution != "DNS_ROUND_ROBIN" or len(self.endpoints) <= 1


class AssignedAddress(Part):
    """A virtual address that was made up for a host."""

    value: StrictStr = ""
    """The address."""
    host: StrictStr = ""
    """The host."""


class ServiceEntryStatus(Status):
    """What controllers say of the service."""

    addresses: tuple[AssignedAddress, ...] = ()
    """Virtual addresses that were made up."""


class ServiceEntry(StrictObject):
    """Adds a service to those of the mesh: outside it, on virtual machines, or by other names."""

    facts = Facts(
        GROUP,
        "serviceentries",
        ALL_VERSIONS,
        short_names=("se",),
        categories=CATEGORIES,
        columns=(
            Column("Hosts", ".spec.hosts"),
            Column("Location", ".spec.location"),
            Column("Resolution", ".spec.resolution"),
            AGE,
        ),
        needs_spec=True,
    )

    spec: ServiceEntrySpec
    """The service."""
    status: ServiceEntryStatus = ServiceEntryStatus()
