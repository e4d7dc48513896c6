"""Where nodes and edges of a directed graph are drawn: columns from callers to called. Pure rules.

The layered way: edges that close a cycle are turned round, each node goes one column to the right
of its last caller, edges that pass a column take a place in it like a node, and a few sweeps
order each column by what its places are joined to, so that few edges cross. The same graph
always gives the same picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Edge = tuple[str, str]
Point = tuple[float, float]  # column and row; rows of all columns have their middle at 0
Place = str | tuple[str, str, int]  # a node, or where an edge passes a column

_SWEEPS: Final = 4
_PASSING: Final = 0.5  # height of a place that an edge takes; a node's is 1


@dataclass(frozen=True, slots=True)
class Layout:
    """nodes: where each is. routes: the points between the ends of each edge that passes columns."""

    nodes: Mapping[str, Point]
    routes: Mapping[Edge, tuple[Point, ...]] = field(default_factory=dict)


def arrange(nodes: Iterable[str], edges: Iterable[Edge]) -> Layout:
    """Place all nodes; every end of an edge must be one of them. Nodes without edges stand below the others."""
    order = sorted(set(nodes))
    forward = _without_cycles(order, sorted({edge for edge in edges if edge[0] != edge[1]}))
    joined = {end for edge in forward for end in edge}
    column_of = _columns([node for node in order if node in joined], forward)
    chains = {edge: _chain(edge, column_of) for edge in forward}
    columns = _ordered(column_of, chains)
    places = {place: (float(x), row) for x, column in enumerate(columns) for place, row in _spread(column)}
    routes = {edge: tuple(places[place] for place in chain[1:-1]) for edge, chain in chains.items() if len(chain) > 2}
    backward = {(b, a): tuple(reversed(points)) for (a, b), points in routes.items()}
    placed = {place: point for place, point in places.items() if isinstance(place, str)}
    alone = [node for node in order if node not in joined]
    return Layout(placed | _grid(alone, placed), backward | routes)


def _without_cycles(nodes: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """The edges, those that lead back to where a walk came from turned round."""
    after: dict[str, list[str]] = {}
    callers: set[str] = set()
    for source, destination in edges:
        after.setdefault(source, []).append(destination)
        callers.add(destination)
    done: set[str] = set()
    found: dict[Edge, None] = {}
    # Begin where nobody calls, so that what is turned round is the answer rather than the call.
    for start in [*(node for node in nodes if node not in callers), *nodes]:
        trail: list[tuple[str, int]] = [] if start in done else [(start, 0)]
        on_trail = {node for node, _ in trail}
        while trail:
            node, step = trail.pop()
            if step == len(after.get(node, ())):
                on_trail.discard(node)
                done.add(node)
                continue
            trail.append((node, step + 1))
            following = after[node][step]
            found[(following, node) if following in on_trail else (node, following)] = None
            if following not in done and following not in on_trail:
                trail.append((following, 0))
                on_trail.add(following)
    return list(found)


def _columns(nodes: Sequence[str], edges: Iterable[Edge]) -> dict[str, int]:
    """For each node the longest way from where nobody calls; who is not called stands next to whom it calls."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for source, destination in edges:
        before[destination].append(source)
        after[source].append(destination)
    missing = {node: len(callers) for node, callers in before.items()}
    ready = [node for node in nodes if not missing[node]]
    found: dict[str, int] = {}
    for node in ready:  # which grows meanwhile
        found[node] = max((found[caller] + 1 for caller in before[node]), default=0)
        for following in after[node]:
            missing[following] -= 1
            if not missing[following]:
                ready.append(following)
    entries = {node: min(found[callee] for callee in after[node]) - 1 for node in nodes if not before[node]}
    return found | entries


def _chain(edge: Edge, column_of: Mapping[str, int]) -> list[Place]:
    source, destination = edge
    between = range(column_of[source] + 1, column_of[destination])
    return [source, *((source, destination, column) for column in between), destination]


def _ordered(column_of: Mapping[str, int], chains: Mapping[Edge, Sequence[Place]]) -> list[list[Place]]:
    """All places by column, in the order of their rows."""
    columns: list[list[Place]] = [[] for _ in range(max(column_of.values(), default=-1) + 1)]
    for node, column in column_of.items():
        columns[column].append(node)
    left: dict[Place, list[Place]] = {}
    right: dict[Place, list[Place]] = {}
    for chain in chains.values():
        for place in chain:
            if isinstance(place, tuple):
                columns[place[2]].append(place)
        for one, following in itertools.pairwise(chain):
            right.setdefault(one, []).append(following)
            left.setdefault(following, []).append(one)
    for _ in range(_SWEEPS):
        _sort(columns, left)
        _sort(columns[::-1], right)
    return columns


def _sort(columns: Iterable[list[Place]], neighbours: Mapping[Place, Sequence[Place]]) -> None:
    """Order each column by the rows of its places' neighbours, who are in the columns before it."""
    row_of: dict[Place, float] = {}
    for column in columns:
        own = dict(_spread(column))
        wished = {place: _middle([row_of[each] for each in neighbours.get(place, ())], own[place]) for place in column}
        column.sort(key=lambda place, wished=wished: (wished[place], str(place)))  # type: ignore[misc]
        row_of.update(_spread(column))


def _middle(rows: Sequence[float], otherwise: float) -> float:
    return sum(rows) / len(rows) if rows else otherwise


def _spread(column: Sequence[Place]) -> list[tuple[Place, float]]:
    """The rows of a column's places, with its middle at 0. A passing edge takes less room than a node."""
    heights = [1.0 if isinstance(place, str) else _PASSING for place in column]
    below = list(itertools.accumulate(heights, initial=0.0))
    return [
        (place, start + (height - below[-1]) / 2) for place, height, start in zip(column, heights, below, strict=False)
    ]


def _grid(alone: Sequence[str], placed: Mapping[str, Point]) -> dict[str, Point]:
    width = max([3, *(int(x) + 1 for x, _ in placed.values())])
    below = max((y for _, y in placed.values()), default=-1.5) + 1.5
    return {node: (float(number % width), below + number // width) for number, node in enumerate(alone)}
