"""WorkloadGroup: what WorkloadEntries that register themselves look like."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr

from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.networking.workload_entry import WorkloadTemplate
from agent.api.scalars import Count32, HeaderName, PortNumber, Text, TextMap
from agent.api.strict import AGE, Facts, OneOf, Rule, StrictObject, StrictPart

_SCHEMES = ("", "HTTP", "HTTPS")
Scheme = Annotated[
    StrictStr,
    Rule[str]("self in ['', 'HTTP', 'HTTPS']", "accepted are HTTP and HTTPS", lambda value: value in _SCHEMES),
]


class GroupMetadata(StrictPart):
    """What the metadata of each entry has besides."""

    labels: Annotated[TextMap, Field(max_length=256)] = Field(default_factory=dict)
    """Labels."""
    annotations: Annotated[TextMap, Field(max_length=256)] = Field(default_factory=dict)
    """Annotations."""


class HttpHeader(StrictPart):
    """A header of the request."""

    name: HeaderName = ""
    """Its name."""
    value: StrictStr = ""
    """Its value."""


class HttpProbe(StrictPart):
    """Good if it is answered with a status from 200 to 399."""

    path: StrictStr = ""
    """Path to ask for; / if empty."""
    port: PortNumber
    """Port to connect to."""
    host: StrictStr = ""
    """Name or address to connect to; localhost if empty."""
    scheme: Scheme = ""
    """HTTP, the default, or HTTPS."""
    http_headers: tuple[HttpHeader, ...] = ()
    """Headers to send."""


class TcpProbe(StrictPart):
    """Good if it is accepted."""

    host: StrictStr = ""
    """Name or address to connect to; localhost if empty."""
    port: PortNumber
    """Port to connect to."""


class ExecProbe(StrictPart):
    """Good if the command ends with 0."""

    command: tuple[Text, ...]
    """The program and its arguments; no shell."""


class GrpcProbe(StrictPart):
    """Good if gRPC's health service says SERVING."""

    port: PortNumber | None = None
    """Port to connect to."""
    service: StrictStr = ""
    """Name to ask for; the server as a whole if empty."""


class ReadinessProbe(StrictPart):
    """How to ask a workload whether it is ready."""

    one_ofs = (OneOf(("httpGet", "tcpSocket", "exec", "grpc")),)

    initial_delay_seconds: Count32 = 0
    """Seconds from the start to the first probe."""
    timeout_seconds: Count32 = 0
    """Seconds until a probe has failed; 1 if 0."""
    period_seconds: Count32 = 0
    """Seconds between probes; 10 if 0."""
    success_threshold: Count32 = 0
    """Good probes in a row until the workload is ready; 1 if 0."""
    failure_threshold: Count32 = 0
    """Failed probes in a row until the workload is not; 3 if 0."""
    http_get: HttpProbe | None = None
    """Ask over HTTP."""
    tcp_socket: TcpProbe | None = None
    """Open a connection."""
    exec: ExecProbe | None = None
    """Run a command."""
    grpc: GrpcProbe | None = None
    """Ask over gRPC."""


class WorkloadGroupSpec(StrictPart):
    """The pattern of the entries."""

    metadata: GroupMetadata | None = None
    """Labels and annotations of each."""
    template: WorkloadTemplate
    """What else is the same in each."""
    probe: ReadinessProbe | None = None
    """How each is asked whether it is ready; it counts as ready if absent."""


class WorkloadGroup(StrictObject):
    """Says what the WorkloadEntry of a virtual machine looks like that joins by itself."""

    facts = Facts(
        GROUP,
        "workloadgroups",
        ALL_VERSIONS,
        short_names=("wg",),
        categories=CATEGORIES,
        columns=(AGE,),
        needs_spec=True,
    )

    spec: WorkloadGroupSpec
    """The pattern."""
