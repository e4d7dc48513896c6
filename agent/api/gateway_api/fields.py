"""The kinds of text and list that fields of the Gateway API hold, each with its check."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Annotated, Final, Generic, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StrictInt, StrictStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
DNS_NAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"
DOMAIN_PATH: Final = rf"{DNS_NAME}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_QUALIFIED = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
_QUALIFIED_KEY = re.compile(rf"(?:{DNS_NAME}/)?{_QUALIFIED}")
_HOSTNAME = re.compile(rf"(?:\*\.)?{DNS_NAME}")
_HTTP_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_UNITS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class Check(Generic[T]):
    """Stands in an annotation: refuses some values of the type, and says so in the schema."""

    def __init__(self, check: Callable[[T], T], schema: JsonSchemaValue | None = None) -> None:
        self._check = check
        self._schema = schema or {}

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), **self._schema}


def matching(pattern: str, accepted: str, longest: int = 253) -> Check[str]:
    """Check for a text that matches as a whole and has at most that many characters."""
    compiled = re.compile(pattern)
    shortest = {} if compiled.fullmatch("") else {"minLength": 1}

    def check(value: str) -> str:
        if len(value) > longest or not compiled.fullmatch(value):
            raise ValueError(f"accepted is {accepted}, at most {longest} characters")
        return value

    return Check(check, {"maxLength": longest, **shortest})


def items(most: int, least: int = 0) -> Check[tuple[object, ...]]:
    """Check for a list of so many items."""

    def check(given: tuple[object, ...]) -> tuple[object, ...]:
        if not least <= len(given) <= most:
            raise ValueError(f"there are {len(given)}; accepted are {least} to {most}")
        return given

    return Check(check, {"maxItems": most, **({"minItems": least} if least else {})})


def unique(of: Callable[[T], Hashable], what: str) -> Check[tuple[T, ...]]:
    """Check for a list in which no two items have the same key."""

    def check(given: tuple[T, ...]) -> tuple[T, ...]:
        if len(given) > 1:
            for key, count in Counter(of(item) for item in given).items():
                if count > 1:
                    raise ValueError(f"{what} {key!r} is there {count} times; accepted is once")
        return given

    return Check(check)


def _itself(value: Hashable) -> Hashable:
    return value


def _alone(values: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in values and len(values) > 1:
        raise ValueError("accepted is '*' alone, or a list without it")
    return values


def _qualified_key(value: str) -> str:
    # The prefix may have 252 characters here, one less than a DNS name: that is the CRD's own bound.
    if not _QUALIFIED_KEY.fullmatch(value) or len(value.split("/")[0]) >= 253:
        raise ValueError("accepted is NAME or DOMAIN/NAME, the name at most 63 characters")
    return value


def is_address(value: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, without a zone."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def is_hostname(value: str) -> bool:
    """Whether it is a host name, or *.DOMAIN."""
    return _HOSTNAME.fullmatch(value) is not None


def is_http_path(value: str) -> bool:
    """Whether it holds only what a URL's path may, with whole escapes."""
    return _HTTP_PATH.fullmatch(value) is not None


def duration_milliseconds(value: str) -> int:
    """Length of a duration that has been checked; its units may come in any order, and repeat."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[hms])", value))


Group = Annotated[StrictStr, matching(rf"(?:{DNS_NAME})?", "an API group, empty for the core one")]
KindName = Annotated[StrictStr, matching(r"[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", "a kind", 63)]
ObjectName = Annotated[StrictStr, matching(r"(?s:.+)", "a name")]
NamespaceName = Annotated[StrictStr, matching(_LABEL, "a namespace", 63)]
SectionName = Annotated[StrictStr, matching(DNS_NAME, "lower case letters, digits, '-' and '.'")]
PreciseHostname = Annotated[StrictStr, matching(DNS_NAME, "a host name in lower case")]
Hostname = Annotated[StrictStr, matching(rf"(?:\*\.)?{DNS_NAME}", "a host name in lower case, or *.DOMAIN")]
ControllerName = Annotated[StrictStr, matching(DOMAIN_PATH, "DOMAIN/PATH")]
HeaderName = Annotated[StrictStr, matching(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "the name of an HTTP header", 256)]
HeaderValue = Annotated[
    StrictStr, matching(r"[!-~]+(?:[\t ][!-~]+)*", "visible ASCII with single blanks between", 4096)
]
AnyHeaderValue = Annotated[StrictStr, matching(r"(?s:.+)", "a text that is not empty", 4096)]
HttpPath = Annotated[StrictStr, matching(_HTTP_PATH.pattern, "a URL's path", 1024)]
Duration = Annotated[
    StrictStr, matching(r"(?:[0-9]{1,5}(?:ms|[hms])){1,4}", "a duration such as 1m30s or 500ms, no fractions", 32)
]
OptionValue = Annotated[StrictStr, Field(max_length=4096)]
Options = Annotated[dict[StrictStr, OptionValue], Field(max_length=16)]
LabelKey = Annotated[StrictStr, Check(_qualified_key)]
LabelValue = Annotated[
    StrictStr, matching(r"(?:(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", "the value of a label", 63)
]
PortNumber = Annotated[StrictInt, Field(ge=1, le=65535)]
each_once = unique(_itself, "value")
star_alone = Check(_alone)
