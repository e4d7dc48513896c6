"""The kinds of value that fields of Kubernetes objects hold, each with its check."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, PlainValidator, StrictInt, StrictStr

from agent.wire import DATAPLANE_MODE_LABEL, DATAPLANE_MODES

T = TypeVar("T")

HEADLESS: Final = "None"  # spec.clusterIP of a service without a virtual address
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]{0,251}[a-z0-9])?")  # RFC 1123 subdomain; accounts and roles may hold a colon
_PORT_NAME = re.compile(r"(?=.{0,14}[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")


def check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("accepted are lower case letters, digits, '-' and '.', at most 253")
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as exc:
        raise ValueError("accepted is an IPv4 or IPv6 address") from exc


def _cluster_address(value: str) -> str:
    return value if value in ("", HEADLESS) else _address(value)


def _port_reference(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    if isinstance(value, str) and _PORT_NAME.fullmatch(value):
        return value
    raise ValueError("accepted is a number from 1 to 65535, or the name of a container's port")


def not_empty(value: tuple[T, ...]) -> tuple[T, ...]:
    if not value:
        raise ValueError("accepted is at least one")
    return value


def empty(value: tuple[T, ...]) -> tuple[T, ...]:
    if value:
        raise ValueError("not supported; accepted are matchLabels")
    return value


def _check_dataplane_mode(labels: Mapping[str, str]) -> dict[str, str]:
    mode = labels.get(DATAPLANE_MODE_LABEL)
    if mode is not None and mode not in DATAPLANE_MODES:
        raise ValueError(f"label {DATAPLANE_MODE_LABEL}={mode}: accepted are {', '.join(DATAPLANE_MODES)}")
    return dict(labels)


Name = Annotated[StrictStr, AfterValidator(check_name)]
OptionalName = Annotated[StrictStr, AfterValidator(lambda value: value and check_name(value))]
Address = Annotated[StrictStr, AfterValidator(_address)]
ClusterAddress = Annotated[StrictStr, AfterValidator(_cluster_address)]
PortNumber = Annotated[StrictInt, Field(ge=1, le=65535)]
PortReference = Annotated[int | str, PlainValidator(_port_reference)]
Labels = Annotated[dict[StrictStr, StrictStr], AfterValidator(_check_dataplane_mode)]
Count = Annotated[StrictInt, Field(ge=0)]
Seconds = Annotated[StrictInt, Field(ge=1)]
Protocol = Literal["TCP", "UDP", "SCTP"]
