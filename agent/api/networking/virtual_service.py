"""VirtualService: where requests and connections for a host go."""

from __future__ import annotations

from agent.api.networking.destinations import Destination
from agent.api.networking.http_route import HttpRoute
from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.networking.matches import L4Match, TlsMatch
from agent.api.scalars import Count32, Texts
from agent.api.strict import AGE, Column, Facts, StrictObject, StrictPart


class StreamDestination(StrictPart):
    """One of the places that a route's connections go to."""

    destination: Destination
    """The service or subset."""
    weight: Count32 = 0
    """Share relative to the sum of all weights; 0 for none, or for all if it is the only destination."""


class TlsRoute(StrictPart):
    """A route for TLS connections that are passed through, by their server name."""

    match: tuple[TlsMatch, ...]
    """Alternatives."""
    route: tuple[StreamDestination, ...] = ()
    """Where connections go, by weight."""


class TcpRoute(StrictPart):
    """A route for TCP connections."""

    match: tuple[L4Match, ...] = ()
    """Alternatives; every connection if empty."""
    route: tuple[StreamDestination, ...] = ()
    """Where connections go, by weight."""


class VirtualServiceSpec(StrictPart):
    """Routes of a host, in the order in which they are tried."""

    hosts: Texts = ()
    """Names, wildcards or addresses that are routed; none in a VirtualService that others delegate to."""
    gateways: Texts = ()
    """NAMESPACE/NAME of gateways that take the routes, or `mesh` for calls inside the mesh; [mesh] if empty."""
    http: tuple[HttpRoute, ...] = ()
    """Routes for HTTP, gRPC and terminated TLS."""
    tls: tuple[TlsRoute, ...] = ()
    """Routes for TLS that is passed through."""
    tcp: tuple[TcpRoute, ...] = ()
    """Routes for everything else."""
    export_to: Texts = ()
    """Namespaces that see the resource: '.' for its own, '*' for all; as the mesh says if empty, which is all."""


class VirtualService(StrictObject):
    """Routes traffic for hosts to services and their subsets."""

    facts = Facts(
        GROUP,
        "virtualservices",
        ALL_VERSIONS,
        short_names=("vs",),
        categories=CATEGORIES,
        columns=(Column("Gateways", ".spec.gateways"), Column("Hosts", ".spec.hosts"), AGE),
    )

    spec: VirtualServiceSpec = VirtualServiceSpec()
    """The routes."""
