"""Checks of what an HTTP route matches on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from agent.api.networking.matches import HttpMatch, StringMatch
from agent.api.validation import formats
from agent.api.validation.destinations import Path, of_gateways, of_labels
from agent.api.validation.remarks import Remark, error, faulty, said

_CLAIM: Final = re.compile(r"@request\.auth\.claims(\..+|\[.+\])", re.IGNORECASE | re.ASCII)
_PSEUDO_HEADERS: Final = (":method", ":scheme", ":authority", ":path", ":status")  # RFC 9113, section 8.3
_TEXTS: Final = ("uri", "scheme", "method", "authority")
_MAPS: Final = (("headers", "headers"), ("query_params", "queryParams"), ("without_headers", "withoutHeaders"))
_ANY: Final = "*"  # as a regular expression in withoutHeaders: that the header is there


def is_claim(header: str) -> bool:
    """Whether a header stands for a claim of the token that the request came with."""
    return _CLAIM.fullmatch(header) is not None


def of_match(match: HttpMatch, path: Path) -> Iterator[Remark]:
    for found, where in _comparisons(match):
        if found.regex is not None and not (where[0] == "withoutHeaders" and found.regex == _ANY):
            yield from faulty(formats.regex(found.regex), *path, *where, "regex")
        if found.prefix == "" and where != ("uri",):
            yield error(said("", "a text that is not empty"), *path, *where, "prefix")
    for attribute, field in (_MAPS[0], _MAPS[2]):
        for header in getattr(match, attribute):
            if not is_claim(header) and header not in _PSEUDO_HEADERS:
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
