"""Where the routes of a corpus lead, of VirtualServices and of the Gateway API's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.analysis import hosts, waypoints
from agent.analysis.corpus import Corpus, Entry, view
from agent.api.gateway_api.gateway import Gateway
from agent.api.gateway_api.grpc_route import GRPCRoute, GrpcRule
from agent.api.gateway_api.http_route import HTTPRoute, HttpRule
from agent.api.gateway_api.references import BackendReference, ParentReference
from agent.api.gateway_api.stream_routes import StreamRule, TCPRoute, TLSRoute
from agent.api.kubernetes import Service
from agent.api.networking.destinations import Destination
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.virtual_service import VirtualService
from agent.documents import Step

MESH: Final = "mesh"
Route = HTTPRoute | GRPCRoute | TCPRoute | TLSRoute
ROUTES: Final = (HTTPRoute, GRPCRoute, TCPRoute, TLSRoute)


@dataclass(frozen=True, slots=True)
class Lead:
    """One destination of a VirtualService, with the path to it; `is_weighted` if not a mirror."""

    path: tuple[Step, ...]
    destination: Destination
    is_weighted: bool = True


def is_of_mesh(service: VirtualService) -> bool:
    """Whether it routes calls within the mesh."""
    return not service.spec.gateways or MESH in service.spec.gateways


def gateways_of(service: VirtualService) -> tuple[str, ...]:
    """The gateways that it names, as it writes them."""
    return tuple(name for name in service.spec.gateways if name != MESH)


def leads(service: VirtualService) -> Iterator[Lead]:
    """Every destination, mirrors too."""
    for number, http in enumerate(service.spec.http):
        path: tuple[Step, ...] = ("spec", "http", number)
        for position, each in enumerate(http.route):
            yield Lead((*path, "route", position, "destination"), each.destination)
        if http.mirror is not None:
            yield Lead((*path, "mirror"), http.mirror, is_weighted=False)
        for position, mirror in enumerate(http.mirrors):
            yield Lead((*path, "mirrors", position, "destination"), mirror.destination, is_weighted=False)
    streams = {"tls": [each.route for each in service.spec.tls], "tcp": [each.route for each in service.spec.tcp]}
    for field, found in streams.items():
        for number, targets in enumerate(found):
            for position, target in enumerate(targets):
                yield Lead(("spec", field, number, "route", position, "destination"), target.destination)


def routes(corpus: Corpus) -> Iterator[Entry[Route]]:
    """All of the Gateway API's."""
    yield from corpus.of(HTTPRoute)
    yield from corpus.of(GRPCRoute)
    yield from corpus.of(TCPRoute)
    yield from corpus.of(TLSRoute)


def backends(route: Route) -> Iterator[tuple[tuple[Step, ...], BackendReference]]:
    """Each with the path to it."""
    rules: Sequence[HttpRule | GrpcRule | StreamRule] = route.spec.rules
    for number, rule in enumerate(rules):
        for position, backend in enumerate(rule.backend_refs):
            yield ("spec", "rules", number, "backendRefs", position), backend


def parents(route: Route) -> Iterator[tuple[tuple[Step, ...], ParentReference]]:
    """Each with the path to it."""
    for number, parent in enumerate(route.spec.parent_refs):
        yield ("spec", "parentRefs", number), parent


def mesh_parents(corpus: Corpus, entry: Entry[Route]) -> Iterator[tuple[tuple[Step, ...], Entry[Service]]]:
    """The Services whose calls within the mesh it routes."""
    for path, parent in parents(entry.value):
        if parent.kind == "Service":
            found = corpus.find(Service, parent.namespace or entry.namespace, parent.name)
            if found is not None:
                yield path, found


def is_of_gateway(corpus: Corpus, entry: Entry[Route]) -> bool:
    """Whether one of its parents is a gateway at the edge, not a waypoint."""
    for _, parent in parents(entry.value):
        gateway = corpus.find(Gateway, parent.namespace or entry.namespace, parent.name)
        if parent.kind == "Gateway" and gateway is not None and not waypoints.is_waypoint(corpus, gateway):
            return True
    return False


@view
def reached_by_gateways(corpus: Corpus) -> frozenset[Entry[Service] | Entry[ServiceEntry]]:
    """Services that a gateway at the edge routes to."""
    found: set[Entry[Service] | Entry[ServiceEntry]] = set()
    for entry in corpus.of(VirtualService):
        if gateways_of(entry.value):
            for lead in leads(entry.value):
                if host := hosts.resolve(corpus, entry.namespace, lead.destination.host):
                    found.add(host.entry)
    for route in routes(corpus):
        if is_of_gateway(corpus, route):
            for _, backend in backends(route.value):
                service = corpus.find(Service, backend.namespace or route.namespace, backend.name)
                if service is not None:
                    found.add(service)
    return frozenset(found)
