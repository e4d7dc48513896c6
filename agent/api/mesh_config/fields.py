"""The kinds of value in a MeshConfig: those of protobuf's JSON form, which also takes numbers as texts."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, StrictFloat, StrictInt, StrictStr

from agent.api.scalars import DurationOrZero

_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_WILD_DOMAIN = re.compile(rf"(?:\*|\*?[-a-zA-Z0-9]*(?<!-))(?:\.{_LABEL})*\.?")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SECOND: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)


def _unquoted_integer(value: object) -> object:
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value


def _unquoted_number(value: object) -> object:
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def is_domain(value: str) -> bool:
    """Whether it is a fully qualified name of at most 255 characters, whose last label is no number."""
    last = value.rpartition(".")[2]
    return len(value) <= 255 and _DOMAIN.fullmatch(value) is not None and not last.isdigit()


def _trust_domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value):
        raise ValueError("accepted is a trust domain: labels of letters, digits and '-', with dots between")
    return value


def _host_and_port(value: str) -> str:
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not colon or not is_port or not (is_domain(host) or _is_address(host)):
        raise ValueError("accepted is HOST:PORT or ADDRESS:PORT")
    return value


def _optional_host_and_port(value: str) -> str:
    return value and _host_and_port(value)


def _service(value: str) -> str:
    namespace, slash, host = value.rpartition("/")
    is_namespace = not slash or _NAMESPACE.fullmatch(namespace) is not None
    if not is_namespace or not (is_domain(host) or (not slash and _is_address(host))):
        raise ValueError("accepted is a host, NAMESPACE/HOST or an address")
    return value


def _wildcard_host(value: str) -> str:
    if not value or len(value) > 255 or not _WILD_DOMAIN.fullmatch(value):
        raise ValueError("accepted is a host, or one with a wildcard as *.DOMAIN")
    return value


def _drain(value: timedelta) -> timedelta:
    if value < _SECOND or value % _SECOND:
        raise ValueError("accepted is a duration of whole seconds, at least one")
    return value


def _connect(value: timedelta) -> timedelta:
    if not _MILLISECOND <= value <= timedelta(hours=1) or value % _MILLISECOND:
        raise ValueError("accepted is a duration of whole milliseconds, from 1ms to 1h")
    return value


def _whole_milliseconds(value: timedelta) -> timedelta:
    if value % _MILLISECOND:
        raise ValueError("accepted is a duration of whole milliseconds, or 0s")
    return value


def _poll(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("accepted is a duration of more than 0s")
    return value


_Integer = Annotated[StrictInt, BeforeValidator(_unquoted_integer)]
UInt32 = Annotated[_Integer, Field(ge=0, le=2**32 - 1)]
Int32 = Annotated[_Integer, Field(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[_Integer, Field(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[_Integer, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[_Integer, Field(ge=1, le=2**31 - 1)]
WindowSize = Annotated[_Integer, Field(ge=65535, le=2**31 - 1)]  # RFC 9113, 6.9.2: the initial one
Double = Annotated[StrictFloat, BeforeValidator(_unquoted_number), Field(allow_inf_nan=False)]
PortNumber = Annotated[_Integer, Field(ge=1, le=65535)]
OptionalPort = Annotated[_Integer, Field(ge=0, le=65535)]

DrainDuration = Annotated[DurationOrZero, AfterValidator(_drain)]
ConnectTimeout = Annotated[DurationOrZero, AfterValidator(_connect)]
DetectionTimeout = Annotated[DurationOrZero, AfterValidator(_whole_milliseconds)]
Timeout = DurationOrZero
PollDelay = Annotated[DurationOrZero, AfterValidator(_poll)]

TrustDomain = Annotated[StrictStr, AfterValidator(_trust_domain)]
ProxyAddress = Annotated[StrictStr, AfterValidator(_host_and_port)]
OptionalProxyAddress = Annotated[StrictStr, AfterValidator(_optional_host_and_port)]
ServiceHost = Annotated[StrictStr, AfterValidator(_service)]
WildcardHost = Annotated[StrictStr, AfterValidator(_wildcard_host)]
HttpStatus = Annotated[StrictStr, Field(pattern="^([1-5][0-9][0-9])?$")]
