"""Routes and matches that no request can reach, because an earlier one takes all of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.api.networking.http_route import HttpRoute
from agent.api.networking.matches import HttpMatch, L4Match, StringMatch, TlsMatch
from agent.api.networking.virtual_service import TcpRoute, TlsRoute, VirtualService
from agent.api.validation.remarks import Remark, warning

_ROUTE: Final = "IST0130"
_MATCH: Final = "IST0131"

Route = HttpRoute | TcpRoute | TlsRoute
Match = HttpMatch | L4Match | TlsMatch


def routes_that_no_traffic_reaches(service: VirtualService) -> Iterator[Remark]:
    """A route behind one that matches all, and matches that an earlier route has."""
    kinds: Mapping[str, Sequence[Route]] = {"http": service.spec.http, "tls": service.spec.tls, "tcp": service.spec.tcp}
    for field, routes in kinds.items():
        yield from _of_kind(routes, field)


def _of_kind(routes: Sequence[Route], field: str) -> Iterator[Remark]:
    catches_all: int | None = None
    seen: list[tuple[Match, int]] = []
    for number, route in enumerate(routes):
        if catches_all is not None:
            told = f"no request reaches it: {field}[{catches_all}] matches all"
            yield warning(told, "spec", field, number, code=_ROUTE)
            continue
        if not route.match:
            catches_all = number
            continue
        covered = [_covering(match, seen) for match in route.match]
        seen += [(match, number) for match in route.match]
        if all(earlier is not None for earlier in covered):
            told = "no request reaches it: earlier routes have all its matches"
            yield warning(told, "spec", field, number, code=_ROUTE)
            continue
        for position, earlier in enumerate(covered):
            if earlier is not None:
                told = f"no request reaches it: {field}[{earlier}] matches all of its requests"
                yield warning(told, "spec", field, number, "match", position, code=_MATCH)


def _covering(match: Match, earlier: Sequence[tuple[Match, int]]) -> int | None:
    return next((number for other, number in earlier if _covers(other, match)), None)


def _covers(first: Match, second: Match) -> bool:
    """Whether whatever `second` matches, `first` does. False where that is not plain to see."""
    if isinstance(first, HttpMatch) and isinstance(second, HttpMatch):
        return _covers_http(first, second)
    return _without_name(first) == _without_name(second)


def _covers_http(first: HttpMatch, second: HttpMatch) -> bool:
    if _without_name(first) == _without_name(second):
        return True
    if first.ignore_uri_case != second.ignore_uri_case or first.without_headers:
        return False
    texts = all(
        _covers_text(getattr(first, field), getattr(second, field))
        for field in ("uri", "scheme", "method", "authority")
    )
    maps = _covers_map(first.headers, second.headers) and _covers_map(first.query_params, second.query_params)
    rest = all(
        not getattr(first, field) or getattr(first, field) == getattr(second, field)
        for field in ("port", "source_labels", "source_namespace", "gateways")
    )
    return texts and maps and rest


def _covers_map(first: Mapping[str, StringMatch], second: Mapping[str, StringMatch]) -> bool:
    return all(name in second and _covers_text(match, second[name]) for name, match in first.items())


def _covers_text(first: StringMatch | None, second: StringMatch | None) -> bool:
    if first is None or first == second:
        return True
    if second is None or first.prefix is None:
        return False
    text = second.prefix if second.prefix is not None else second.exact
    return text is not None and text.startswith(first.prefix)


def _without_name(match: Match) -> Match:
    return match.model_copy(update={"name": ""}) if isinstance(match, HttpMatch) else match
