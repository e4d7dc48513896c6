"""Protocols that a port of a Gateway, Sidecar or ServiceEntry may be said to carry, in any case of letters."""

from __future__ import annotations

from typing import Final

from agent.api.validation.remarks import said

_HTTP: Final = frozenset({"http", "http2", "http_proxy", "grpc", "grpc-web"})
_TLS: Final = frozenset({"https", "tls"})
_TCP: Final = frozenset({"tcp", "mongo", "redis", "mysql"})
_ACCEPTED: Final = ", ".join(name.upper() for name in sorted(_HTTP | _TLS | _TCP))


def is_http(protocol: str) -> bool:
    """Whether requests can be read on the wire."""
    return protocol.lower() in _HTTP


def is_tls(protocol: str) -> bool:
    return protocol.lower() in _TLS


def is_tcp(protocol: str) -> bool:
    """Whether nothing on the wire, but a server name of TLS, tells one host from another."""
    return protocol.lower() in _TCP | _TLS


def known(protocol: str) -> str | None:
    """What is wrong with the name of a protocol; UDP is one, though no proxy carries it."""
    lowered = protocol.lower()
    return None if lowered in _HTTP | _TLS | _TCP or lowered == "udp" else said(protocol, f"one of {_ACCEPTED}")
