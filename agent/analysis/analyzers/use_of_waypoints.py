"""Waypoints, and the objects that name them."""

from __future__ import annotations

from collections.abc import Iterator

from agent.analysis import waypoints, workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.waypoints import Use
from agent.api.gateway_api.gateway import Gateway
from agent.api.gateway_api.listeners import RouteNamespaces
from agent.wire import HBONE_PORT


def used(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0003, 4, 5, 7 and 8: a waypoint that is missing, not ready, no waypoint, for other traffic, or closed."""
    for use in waypoints.uses(corpus):
        namespace, name = use.waypoint
        gateway = corpus.find(Gateway, namespace, name)
        where = (*use.path, use.label)
        facts: dict[str, object] = {"waypoint": f"{namespace}/{name}"}
        if gateway is None:
            if corpus.lacks(Gateway, namespace, name):
                yield use.entry.finding("WEFT0003", *where, **facts)
        elif not waypoints.is_waypoint(corpus, gateway):
            class_name = gateway.value.spec.gateway_class_name
            yield use.entry.finding("WEFT0005", *where, class_name=class_name, **facts)
        elif why := _not_ready(gateway):
            yield use.entry.finding("WEFT0004", *where, why=why, **facts)
        elif use.traffic and use.traffic not in waypoints.served(corpus, gateway):
            said = gateway.value.metadata.labels.get(waypoints.FOR, "service")
            yield use.entry.finding("WEFT0007", *where, said=said, traffic=use.traffic, **facts)
        elif not _admits(corpus, gateway, use):
            yield use.entry.finding("WEFT0008", *where, namespace=use.namespace, **facts)


def unused(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0006: a waypoint that nothing names."""
    named = {use.waypoint for use in waypoints.uses(corpus)}
    for gateway in corpus.of(Gateway):
        is_meant = waypoints.is_waypoint(corpus, gateway) and waypoints.served(corpus, gateway)
        if is_meant and (gateway.namespace, gateway.name) not in named:
            yield gateway.finding("WEFT0006", "metadata", "name")


def _not_ready(gateway: Entry[Gateway]) -> str:
    """Why it cannot be used, as its status says; a manifest has none, and a cluster's object waits for one."""
    status = gateway.value.status
    for condition in status.conditions:
        if condition.type in ("Accepted", "Programmed") and condition.status == "False":
            return f"{condition.type} is False: {condition.message or condition.reason}"
    is_programmed = any(each.type == "Programmed" and each.status == "True" for each in status.conditions)
    if not gateway.file and not is_programmed and not status.addresses:
        return "no controller has given it an address"
    return ""


def _admits(corpus: Corpus, gateway: Entry[Gateway], use: Use) -> bool:
    """Whether its HBONE listener takes objects of that namespace; no such listener is another fault."""
    if use.namespace == gateway.namespace:
        return True
    listeners = [each for each in gateway.value.spec.listeners if each.port == HBONE_PORT]
    return not listeners or any(_is_open(corpus, listener.allowed_routes.namespaces, use) for listener in listeners)


def _is_open(corpus: Corpus, allowed: RouteNamespaces, use: Use) -> bool:
    if allowed.from_ == "Selector":
        labels = {"kubernetes.io/metadata.name": use.namespace, **workloads.labels_of_namespace(corpus, use.namespace)}
        return allowed.selector is not None and allowed.selector.matches(labels)
    return allowed.from_ == "All"
