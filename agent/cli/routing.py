"""What becomes of calls to a host: its waypoint, and the routes and rules that are about it. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.analysis import hosts, routes, waypoints
from agent.analysis.corpus import Corpus, Entry
from agent.analysis.workloads import labels_of_namespace
from agent.api.gateway_api.gateway import Gateway
from agent.api.kubernetes import Service
from agent.api.networking.destination_rule import DestinationRule
from agent.api.networking.virtual_service import VirtualService
from agent.manifests import Key

_NOBODY = "none"


@dataclass(frozen=True, slots=True)
class Waypoint:
    """A waypoint that labels name. trouble: why it carries nothing for this object, empty if it does."""

    name: str
    named_by: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A resource that is about calls to a host, and what it does."""

    key: Key
    says: str


def waypoint(corpus: Corpus, key: Key, labels: Mapping[str, str], traffic: waypoints.Traffic) -> Waypoint | None:
    """What the object's own label names, else its namespace's."""
    named_by, said = f"{key.kind} {key.namespace}/{key.name}", labels
    if waypoints.USE not in labels:
        named_by, said = f"Namespace {key.namespace}", labels_of_namespace(corpus, key.namespace)
    name = said.get(waypoints.USE, _NOBODY)
    if name in ("", _NOBODY):
        return None
    namespace = said.get(waypoints.USE_NAMESPACE) or key.namespace
    return Waypoint(f"{namespace}/{name}", named_by, _trouble(corpus, namespace, name, traffic))


def about(corpus: Corpus, service: Entry[Service], has_waypoint: bool) -> Iterator[Route]:
    """Everything that routes calls to a service, leads to it, or has settings for it."""
    host = hosts.of_service(service)
    in_vain = "" if has_waypoint else "; in vain, for only a waypoint carries it out and the service has none"
    for entry in corpus.of(VirtualService):
        if says := _of_virtual_service(entry, host, in_vain):
            yield Route(entry.key, says)
    for route in routes.routes(corpus):
        if says := _of_route(corpus, route, service, in_vain):
            yield Route(route.key, says)
    for rule in corpus.of(DestinationRule):
        if hosts.covers(hosts.full(rule.namespace, rule.value.spec.host), host):
            yield Route(rule.key, _of_destination_rule(rule.value, in_vain))


def _trouble(corpus: Corpus, namespace: str, name: str, traffic: waypoints.Traffic) -> str:
    found = corpus.find(Gateway, namespace, name)
    if found is None:
        return "there is no such Gateway" if corpus.lacks(Gateway, namespace, name) else ""
    if not waypoints.is_waypoint(corpus, found):
        return f"class {found.value.spec.gateway_class_name} is not a waypoint's"
    if traffic not in waypoints.served(corpus, found):
        return f"its label {waypoints.FOR} says that it is not for {traffic}s"
    return ""


def _of_virtual_service(entry: Entry[VirtualService], host: str, in_vain: str) -> str:
    """What it does to calls to the host, nothing if it is not about it."""
    value = entry.value
    is_for_it = any(hosts.covers(hosts.full(entry.namespace, each), host) for each in value.spec.hosts)
    leads = {hosts.full(entry.namespace, lead.destination.host) for lead in routes.leads(value)}
    said = []
    if is_for_it and routes.is_of_mesh(value):
        said.append(f"routes calls to it within the mesh{_to(leads)}{in_vain}")
    elif host in leads and routes.is_of_mesh(value):
        said.append(f"leads calls to {_listed(value.spec.hosts)} here")
    gateways = routes.gateways_of(value)
    if gateways and (host in leads or is_for_it):
        said.append(f"leads here from gateway {_listed(gateways)}, for {_listed(value.spec.hosts) or 'any host'}")
    return "; ".join(said)


def _of_route(corpus: Corpus, route: Entry[routes.Route], service: Entry[Service], in_vain: str) -> str:
    backends = {(each.namespace or route.namespace, each.name) for _, each in routes.backends(route.value)}
    said = []
    if any(parent is service for _, parent in routes.mesh_parents(corpus, route)):
        said.append(f"routes calls to it within the mesh{_to({'/'.join(each) for each in backends})}{in_vain}")
    if (service.namespace, service.name) in backends:
        parents = [
            f"{parent.kind} {parent.namespace or route.namespace}/{parent.name}"
            for _, parent in routes.parents(route.value)
        ]
        said += [f"leads here from {_listed(parents)}"] if not said and parents else []
    return "; ".join(said)


def _of_destination_rule(rule: DestinationRule, in_vain: str) -> str:
    subsets = [subset.name for subset in rule.spec.subsets]
    parts = ["settings for calls to it"] if rule.spec.traffic_policy else []
    parts += [f"subsets {_listed(subsets)}"] if subsets else []
    return f"{', '.join(parts) or 'says nothing'}{in_vain}"


def _to(leads: Iterable[str]) -> str:
    named = sorted(leads)
    return f", to {', '.join(named)}" if named else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
