"""Checks of what an HTTP route matches on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.api.networking.matches import HttpMatch, StringMatch
from agent.api.validation import formats
from agent.api.validation.destinations import Path, of_gateways, of_labels
from agent.api.validation.remarks import Remark, error, faulty, said

_CLAIM_PREFIXES = ("@request.auth.claims.", "@request.auth.claims[")
_TEXTS = ("uri", "scheme", "method", "authority")
_MAPS = (("headers", "headers"), ("query_params", "queryParams"), ("without_headers", "withoutHeaders"))


def is_claim(header: str) -> bool:
    """Whether a header stands for a claim of the token that the request came with."""
    return header.lower().startswith(_CLAIM_PREFIXES)


def of_match(match: HttpMatch, path: Path, *, is_delegating: bool) -> Iterator[Remark]:
    """`is_delegating`: the route leaves to, or is left to, another VirtualService."""
    for found, where in _comparisons(match):
        if found.regex is None:
            continue
        if is_delegating:
            accepted = "exact or prefix in a route that delegates or is delegated to"
            yield error(said(found.regex, accepted), *path, *where, "regex")
        else:
            yield from faulty(formats.regex(found.regex), *path, *where, "regex")
    for attribute, field in (_MAPS[0], _MAPS[2]):
        for header in getattr(match, attribute):
            if not is_claim(header):
                yield from faulty(formats.header_name(header), *path, field, header)
    yield from of_gateways(match.gateways, (*path, "gateways"))
    yield from of_labels(match.source_labels, (*path, "sourceLabels"))
    if match.source_namespace:
        yield from faulty(formats.name_of_label(match.source_namespace), *path, "sourceNamespace")


def claims(match: HttpMatch) -> Iterator[tuple[str, str]]:
    """Field and name of each header that stands for a claim."""
    for field, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        yield from ((field, header) for header in headers if is_claim(header))


def _comparisons(match: HttpMatch) -> Iterator[tuple[StringMatch, Path]]:
    for text in _TEXTS:
        found: StringMatch | None = getattr(match, text)
        if found is not None:
            yield found, (text,)
    for attribute, field in _MAPS:
        named: Mapping[str, StringMatch] = getattr(match, attribute)
        yield from ((found, (field, name)) for name, found in named.items())
