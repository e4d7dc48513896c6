"""The two ends of a question to `weft explain`: how a person writes them. Pure rules."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import ConfigError
from agent.wire import DEFAULT_CLUSTER_DOMAIN

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123, labels joined by dots


@dataclass(frozen=True, slots=True)
class PodName:
    """A pod, by its namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection is to go: a pod, or a host that is a name or an address."""

    host: PodName | str
    port: int

    def __str__(self) -> str:
        bracketed = isinstance(self.host, str) and ":" in self.host
        return f"[{self.host}]:{self.port}" if bracketed else f"{self.host}:{self.port}"


def pod_name(text: str) -> PodName:
    """NAMESPACE/POD; ConfigError for another form."""
    namespace, slash, name = text.partition("/")
    if not slash or not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
        raise ConfigError(f"{text!r} is not a pod; accepted is NAMESPACE/POD")
    return PodName(namespace, name)


def target(text: str) -> Target:
    """NAMESPACE/POD:PORT or HOST:PORT; ConfigError for another form."""
    host, _, digits = text.rpartition(":")
    port = int(digits) if digits.isdecimal() and digits.isascii() else 0
    if not 1 <= port <= 65535 or not host:
        raise ConfigError(f"{text!r} has no port from 1 to 65535; accepted are NAMESPACE/POD:PORT and HOST:PORT")
    if "/" in host:
        return Target(pod_name(host), port)
    return Target(_host(host), port)


def hostnames(host: str, namespace: str) -> Iterator[str]:
    """What a name means to a pod of the namespace, by its resolver's search list: the first that exists counts."""
    name = host.lower()
    if name.endswith("."):
        yield name[:-1]
        return
    for domain in (
        f"{namespace}.svc.{DEFAULT_CLUSTER_DOMAIN}",
        f"svc.{DEFAULT_CLUSTER_DOMAIN}",
        DEFAULT_CLUSTER_DOMAIN,
    ):
        yield f"{name}.{domain}"
    yield name


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def joined(address: str, port: int) -> str:
    """ADDRESS:PORT, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]") and is_address(text[1:-1]):
        return str(ipaddress.ip_address(text[1:-1]))
    if is_address(text) and ":" not in text:
        return str(ipaddress.ip_address(text))
    if not _NAME.fullmatch(text.lower().removesuffix(".")):
        raise ConfigError(f"{text!r} is neither a name nor an address; an IPv6 address stands in brackets")
    return text
