"""What a route of a VirtualService matches on."""

from __future__ import annotations

from pydantic import Field, StrictBool, StrictStr

from agent.api.scalars import OptionalPort, TextMap, Texts
from agent.api.strict import OneOf, StrictPart


class StringMatch(StrictPart):
    """How to compare a text, with regard to case; with none of the three, that it is there at all."""

    one_ofs = (OneOf(("exact", "prefix", "regex")),)

    exact: StrictStr | None = None
    """The whole text."""
    prefix: StrictStr | None = None
    """Its beginning."""
    regex: StrictStr | None = None
    """A regular expression of RE2 for the whole text."""


class HttpMatch(StrictPart):
    """Conditions on a request, all of which must hold."""

    name: StrictStr = ""
    """Name of the match, joined to the route's in access logs."""
    uri: StringMatch | None = None
    """The path, without the query."""
    scheme: StringMatch | None = None
    """http or https."""
    method: StringMatch | None = None
    """The method, such as GET."""
    authority: StringMatch | None = None
    """The Host or :authority header."""
    headers: dict[StrictStr, StringMatch] = Field(default_factory=dict)
    """Headers by name in lower case."""
    port: OptionalPort = 0
    """Port of the service that was addressed; 0 for any."""
    source_labels: TextMap = Field(default_factory=dict)
    """Labels of the calling workload; needs the gateway `mesh`."""
    gateways: Texts = ()
    """Gateways that the condition is for, in place of the VirtualService's."""
    query_params: dict[StrictStr, StringMatch] = Field(default_factory=dict)
    """Parameters of the query by name."""
    ignore_uri_case: StrictBool = False
    """Whether exact and prefix matches of the path disregard case."""
    without_headers: dict[StrictStr, StringMatch] = Field(default_factory=dict)
    """Headers that must not match, by name in lower case."""
    source_namespace: StrictStr = ""
    """Namespace of the calling workload; needs the gateway `mesh`."""
    stat_prefix: StrictStr = ""
    """Prefix of the statistics kept for the route."""


class L4Match(StrictPart):
    """Conditions on a TCP connection, all of which must hold."""

    destination_subnets: Texts = ()
    """Addresses or CIDR blocks that the connection is to."""
    port: OptionalPort = 0
    """Port of the service that was addressed; 0 for any."""
    source_subnet: StrictStr = ""
    """Address or CIDR block that the connection comes from; not implemented by Istio."""
    source_labels: TextMap = Field(default_factory=dict)
    """Labels of the calling workload; needs the gateway `mesh`."""
    gateways: Texts = ()
    """Gateways that the condition is for, in place of the VirtualService's."""
    source_namespace: StrictStr = ""
    """Namespace of the calling workload; needs the gateway `mesh`."""


class TlsMatch(StrictPart):
    """Conditions on a TLS connection that is not terminated, all of which must hold."""

    sni_hosts: Texts
    """Server names, or wildcards such as *.example.com, within the VirtualService's hosts."""
    destination_subnets: Texts = ()
    """Addresses or CIDR blocks that the connection is to."""
    port: OptionalPort = 0
    """Port of the service that was addressed; 0 for any."""
    source_labels: TextMap = Field(default_factory=dict)
    """Labels of the calling workload; needs the gateway `mesh`."""
    gateways: Texts = ()
    """Gateways that the condition is for, in place of the VirtualService's."""
    source_namespace: StrictStr = ""
    """Namespace of the calling workload; needs the gateway `mesh`."""
