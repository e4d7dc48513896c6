"""The picture that the page draws, as JSON: nodes, edges and where they are. Pure rules."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent import model, wire
from agent.controller.dashboard import layout
from agent.controller.dashboard.readings import NONE, Counts
from agent.controller.dashboard.traffic import Edge, Party

MOST_EDGES: Final = 400  # beyond them neither a picture nor a browser is of use

Json = dict[str, object]
_arrange = functools.lru_cache(maxsize=4)(layout.arrange)


@dataclass(frozen=True, slots=True)
class Graph:
    """left_out: edges that were too many to draw, the quietest."""

    parties: tuple[Party, ...]
    edges: tuple[Edge, ...]
    left_out: int = 0


def workloads(pods: Iterable[model.Pod]) -> dict[Party, list[model.Pod]]:
    """The pods that have not finished, by workload."""
    found: dict[Party, list[model.Pod]] = {}
    for pod in sorted(pods, key=lambda pod: pod.full_name):
        if not pod.is_finished:
            found.setdefault(Party("workload", pod.namespace, pod.workload_name), []).append(pod)
    return found


def is_enrolled(pod: model.Pod) -> bool:
    """Whether the node agent says that the pod's traffic goes through the mesh."""
    return pod.annotations.get(wire.REDIRECTION_ANNOTATION) == wire.REDIRECTION_ENABLED


def assemble(known: Mapping[Party, Sequence[model.Pod]], edges: Sequence[Edge]) -> Graph:
    """The workloads of the mesh, and whoever has talked to one of them."""
    busiest = sorted(edges, key=lambda edge: (edge.rate.opened, edge.rate.failed, edge.total.opened), reverse=True)
    shown = tuple(sorted(busiest[:MOST_EDGES], key=lambda edge: edge.id))
    in_mesh = (party for party, pods in known.items() if any(map(is_enrolled, pods)))
    ends = (end for edge in shown for end in (edge.source, edge.destination))
    return Graph(tuple(sorted({*in_mesh, *ends})), shown, len(edges) - len(shown))


def as_json(graph: Graph, known: Mapping[Party, Sequence[model.Pod]]) -> Json:
    """Nodes with their place in columns and rows, edges with the points that they pass."""
    places = _arrange(
        frozenset(party.id for party in graph.parties),
        frozenset((edge.source.id, edge.destination.id) for edge in graph.edges),
    )
    return {
        "nodes": [_node(party, known.get(party, ()), places.nodes[party.id]) for party in graph.parties],
        "edges": [_edge(edge, places.routes.get((edge.source.id, edge.destination.id), ())) for edge in graph.edges],
        "edges_left_out": graph.left_out,
    }


def _node(party: Party, pods: Sequence[model.Pod], place: layout.Point) -> Json:
    enrolled = sum(map(is_enrolled, pods))
    return {
        "id": party.id,
        "kind": party.kind,
        "namespace": party.namespace,
        "name": party.name,
        "pods": len(pods),
        "enrolled": enrolled,
        "column": place[0],
        "row": place[1],
    }


def _edge(edge: Edge, route: Sequence[layout.Point]) -> Json:
    return {
        "id": edge.id,
        "source": edge.source.id,
        "destination": edge.destination.id,
        "security": edge.security,
        "active": edge.rate != NONE or edge.total.opened > edge.total.closed,
        "total": _counts(edge.total),
        "rate": _counts(edge.rate),
        "by_security": dict(edge.opened_by_security),
        "failures": [{"flag": each.flag, "total": each.total, "per_second": each.per_second} for each in edge.failures],
        "services": list(edge.services),
        "source_identities": list(edge.source_identities),
        "destination_identities": list(edge.destination_identities),
        "route": [list(point) for point in route],
    }


def _counts(counts: Counts) -> Json:
    return dict(counts._asdict())
