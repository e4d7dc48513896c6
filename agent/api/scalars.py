"""The kinds of scalar that Istio's resources hold, as their CustomResourceDefinitions spell them.

Numbers are numbers and texts are texts: "80" is no port. A scalar wrapped in Nullable is one of
protobuf's wrapper types: absent differs from zero, and null means absent also to an API server.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import timedelta
from typing import Annotated, Final, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from agent.api.strict import VALIDATIONS, Rule

T = TypeVar("T")

_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION: Final = re.compile(r"[-+]?((([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|0)")
_DURATION_STEP: Final = re.compile(r"([0-9]*)\.?([0-9]*)([a-zµμ]+)")
_MAX_NANOSECONDS: Final = 2**63 - 1  # of Go's time.Duration
_DURATION_FORM: Final = 'accepted is a duration such as "1.5s", "250ms" or "1h30m"'
_AT_LEAST_1MS: Final = {"rule": "duration(self) >= duration('1ms')", "message": "accepted is a duration of 1ms or more"}


def _duration(value: object) -> object:
    """Go's time.ParseDuration, which Istio reads durations with; an API server's CEL agrees."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError(_DURATION_FORM)
    nanoseconds = 0
    for whole, fraction, unit in _DURATION_STEP.findall(value):
        nanoseconds += int((whole + fraction) or "0") * _UNITS[unit] // 10 ** len(fraction)
    if nanoseconds > _MAX_NANOSECONDS:
        raise ValueError("accepted is a duration of at most 2562047h")
    microseconds, rest = divmod(nanoseconds, 1000)
    if rest:
        raise ValueError("accepted is a duration in whole microseconds")
    return timedelta(microseconds=-microseconds if value.startswith("-") else microseconds)


def _duration_of_1ms(value: object) -> object:
    found = _duration(value)
    if isinstance(found, timedelta) and found < timedelta(milliseconds=1):
        raise ValueError(_AT_LEAST_1MS["message"])
    return found


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration_of_1ms),
    WithJsonSchema({"type": "string", VALIDATIONS: [_AT_LEAST_1MS]}),
]
"""A duration of a millisecond or more."""


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta():
        raise ValueError("accepted is a duration that is not negative")
    return value


AnyDuration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),  # CEL would go beyond the limit of costs
]
"""A duration of which the schema says no more."""

DurationOrZero = Annotated[AnyDuration, AfterValidator(_not_negative)]
"""A duration that may be zero; outside of definitions, for its pattern does not say so."""

UInt32 = Annotated[StrictInt, Field(ge=0, le=2**32 - 1)]
Int32 = Annotated[StrictInt, Field(ge=-(2**31), le=2**31 - 1, json_schema_extra={"format": "int32"})]
Count32 = Annotated[StrictInt, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int32"})]
"""An int32 that is not negative."""
UInt64 = Annotated[StrictInt, Field(ge=0)]
PortNumber = Annotated[StrictInt, Field(ge=1, le=65535)]
OptionalPort = Annotated[StrictInt, Field(ge=0, le=65535)]
"""A port; 0 is the same as absent."""
Double = Annotated[StrictFloat, Field(allow_inf_nan=False, json_schema_extra={"format": "double"})]
"""A number; integers are numbers too."""
PercentDouble = Annotated[Double, Field(ge=0, le=100)]
"""0 to 100."""

Nullable = Annotated[T | None, Field(json_schema_extra={"nullable": True})]
"""A wrapper type of protobuf."""
Flag = Annotated[StrictBool | None, Field(json_schema_extra={"nullable": True})]
"""A boolean for which absent is a third value."""

Text = Annotated[StrictStr, Field(min_length=1)]
"""A text that is not empty."""
Texts = tuple[StrictStr, ...]
TextMap = dict[StrictStr, StrictStr]

FreeObject = Annotated[
    dict[str, JsonValue], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]
"""google.protobuf.Struct: any JSON object, nulls within kept."""

_HEADER_NAME: Final = r"^[-_A-Za-z0-9]+$"
HeaderName = Annotated[StrictStr, Field(pattern=_HEADER_NAME)]
NotAnyHost = Annotated[StrictStr, Rule[str]("self != '*'", "accepted is a host, but '*'", lambda value: value != "*")]
"""A host, or a wildcard of hosts such as *.example.com, but not of all hosts."""


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error as exc:
        raise ValueError("accepted are bytes in base64") from exc
    return value


Base64 = Annotated[StrictStr, AfterValidator(_base64), Field(json_schema_extra={"format": "byte"})]
"""Bytes, still in base64."""
