"""Routes that no proxy follows: without a waypoint, past it, or beside another kind of route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from agent.analysis import hosts, waypoints, workloads
from agent.analysis.corpus import Corpus, Entry, Finding, view
from agent.analysis.routes import (
    Route,
    backends,
    gateways_of,
    is_of_gateway,
    is_of_mesh,
    leads,
    mesh_parents,
    reached_by_gateways,
    routes,
)
from agent.api.cluster_network import Ingress
from agent.api.kubernetes import Service
from agent.api.networking.destination_rule import DestinationRule
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.virtual_service import VirtualService
from agent.documents import Step

AnyService = Entry[Service] | Entry[ServiceEntry]


def past_waypoints(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0016: a gateway's route to a service with a waypoint, which the gateway does not use."""
    for entry in corpus.of(VirtualService):
        for lead in leads(entry.value) if gateways_of(entry.value) else ():
            host = hosts.resolve(corpus, entry.namespace, lead.destination.host)
            if host and (waypoint := _passed_by(corpus, host.entry)):
                yield _past(entry, (*lead.path, "host"), host.entry, waypoint)
    for route in routes(corpus):
        for path, backend in backends(route.value) if is_of_gateway(corpus, route) else ():
            service = corpus.find(Service, backend.namespace or route.namespace, backend.name)
            if service and (waypoint := _passed_by(corpus, service)):
                yield _past(route, path, service, waypoint)
    for ingress in corpus.of(Ingress):
        for path, name in _backends(ingress.value):
            service = corpus.find(Service, ingress.namespace, name)
            if service and (waypoint := _passed_by(corpus, service)):
                yield _past(ingress, path, service, waypoint)


def two_kinds(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0012: a VirtualService and a route of the Gateway API for one host within the mesh."""
    for entry in corpus.of(VirtualService):
        for number, host in enumerate(entry.value.spec.hosts if is_of_mesh(entry.value) else ()):
            others = _routes_by_host(corpus).get(hosts.full(entry.namespace, host))
            if others:
                yield entry.finding("WEFT0012", "spec", "hosts", number, host=host, others=", ".join(others))


def without_waypoint(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0022: routes within the mesh, or settings, for a service of an enrolled namespace without a waypoint."""
    for entry in corpus.of(VirtualService):
        for number, host in enumerate(entry.value.spec.hosts if is_of_mesh(entry.value) else ()):
            found = hosts.resolve(corpus, entry.namespace, host)
            if found and _is_bare(corpus, found.entry):
                yield entry.finding("WEFT0022", "spec", "hosts", number, host=host)
    for route in routes(corpus):
        for path, service in mesh_parents(corpus, route):
            if _is_bare(corpus, service):
                yield route.finding("WEFT0022", *path, host=hosts.of_service(service))
    for rule in corpus.of(DestinationRule):
        found = hosts.resolve(corpus, rule.namespace, rule.value.spec.host)
        if found is None or found.entry in reached_by_gateways(corpus):
            continue
        if _is_bare(corpus, found.entry) and not rule.value.spec.workload_selector:  # of which WEFT0014 tells
            yield rule.finding("WEFT0022", "spec", "host", host=rule.value.spec.host)


def _is_bare(corpus: Corpus, service: AnyService) -> bool:
    """Whether nobody who reads requests stands before it, and its callers and itself are in the mesh."""
    return workloads.is_ambient(corpus, service.namespace) and waypoints.of_service(corpus, service) is None


def _passed_by(corpus: Corpus, service: AnyService) -> str:
    """Namespace and name of the waypoint that gateways leave out; empty if there is none, or they use it."""
    asked = {**workloads.labels_of_namespace(corpus, service.namespace), **service.value.metadata.labels}
    found = waypoints.waypoint_of(corpus, service)
    return found.value.full_name if found and asked.get(waypoints.BY_INGRESS) != "true" else ""


def _past(
    entry: Entry[VirtualService] | Entry[Ingress] | Entry[Route],
    path: tuple[Step, ...],
    service: AnyService,
    waypoint: str,
) -> Finding:
    return entry.finding("WEFT0016", *path, service=service.value.full_name, waypoint=waypoint)


def _backends(ingress: Ingress) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Names of services, each with the path to it."""
    default = ingress.spec.default_backend
    if default and default.service:
        yield ("spec", "defaultBackend"), default.service.name
    for number, rule in enumerate(ingress.spec.rules):
        for position, path in enumerate(rule.http.paths if rule.http else ()):
            if path.backend.service:
                yield ("spec", "rules", number, "http", "paths", position, "backend"), path.backend.service.name


@view
def _routes_by_host(corpus: Corpus) -> Mapping[str, Sequence[str]]:
    """Routes of the Gateway API by the Service that they are for."""
    found: dict[str, list[str]] = defaultdict(list)
    for route in routes(corpus):
        for _, service in mesh_parents(corpus, route):
            found[hosts.of_service(service)].append(str(route.key))
    return found
