"""WorkloadEntry: a workload that is no pod."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field, StrictStr

from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.scalars import PortNumber, TextMap, UInt32
from agent.api.strict import AGE, Column, Facts, Rule, Status, StrictObject, StrictPart, rule

_PORT_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_SOCKET: Final = "unix://"

_IS_ABSOLUTE = Rule[str](
    "self.startsWith('unix://') ? (self.substring(7, 8) == '/' || self.substring(7, 8) == '@') : true",
    "accepted after unix:// is an absolute path, or @ and an abstract name",
    lambda address: not address.startswith(_SOCKET) or address[7:8] in ("/", "@"),
)
_IS_NO_FOLDER = Rule[str](
    "self.startsWith('unix://') ? !self.endsWith('/') : true",
    "accepted after unix:// is a socket, not a folder",
    lambda address: not (address.startswith(_SOCKET) and address.endswith("/")),
)
_ARE_NAMED = Rule[dict[str, int]](
    "self.all(key, size(key) < 63 && key.matches('^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
    "accepted as a port's name are letters, digits and '-' inside, at most 62",
    lambda ports: all(len(name) < 63 and _PORT_NAME.fullmatch(name) for name in ports),
)

Endpoints = Annotated[dict[StrictStr, PortNumber], Field(max_length=128), _ARE_NAMED]


class WorkloadTemplate(StrictPart):
    """What the entries of a group have in common."""

    address: Annotated[StrictStr, Field(max_length=256), _IS_ABSOLUTE, _IS_NO_FOLDER] = ""
    """IP address, name in DNS, or unix:// and a path."""
    ports: Endpoints = Field(default_factory=dict)
    """Ports of the workload by the names of the service's ports, where they differ."""
    labels: Annotated[TextMap, Field(max_length=256)] = Field(default_factory=dict)
    """Labels of the workload."""
    network: Annotated[StrictStr, Field(max_length=2048)] = ""
    """Network in which the address can be reached; one for all that name the same."""
    locality: Annotated[StrictStr, Field(max_length=2048)] = ""
    """Where it stands: REGION/ZONE/SUBZONE."""
    weight: UInt32 = 0
    """Share of the traffic relative to other endpoints; 1 if 0."""
    service_account: Annotated[StrictStr, Field(max_length=253)] = ""
    """Service account, in the namespace of the resource, that gives it its identity."""

    @rule(
        "(has(self.address) ? self.address : '').startsWith('unix://') ? !has(self.ports) : true",
        "ports: accepted only without a unix:// address",
    )
    def _has_no_ports_at_a_socket(self) -> bool:
        return not (self.address.startswith(_SOCKET) and "ports" in self.model_fields_set)


class WorkloadEntrySpec(WorkloadTemplate):
    """A workload, by its address or the network that it is behind."""

    @rule("has(self.address) || has(self.network)", "address: required, unless there is a network")
    def _can_be_reached(self) -> bool:
        return bool({"address", "network"} & self.model_fields_set)


class WorkloadEntry(StrictObject):
    """Makes something outside Kubernetes, such as a virtual machine, a workload of the mesh."""

    facts = Facts(
        GROUP,
        "workloadentries",
        ALL_VERSIONS,
        short_names=("we",),
        categories=CATEGORIES,
        columns=(AGE, Column("Address", ".spec.address")),
        needs_spec=True,
    )

    spec: WorkloadEntrySpec
    """The workload."""
    status: Status = Status()
