"""Checks of networking.istio.io's Gateway."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.networking.gateway import Gateway, Server
from agent.api.validation import formats, listener_hosts, protocols
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, warning
from agent.api.validation.server_tls import of_server_tls


def servers(gateway: Gateway) -> Iterator[Remark]:
    yield from faulty(formats.name_of_label(gateway.metadata.name), "metadata", "name")
    if not gateway.spec.servers:
        yield error("missing; accepted is at least one server", "spec", "servers")
    seen: set[str] = set()
    for number, server in enumerate(gateway.spec.servers):
        path = ("spec", "servers", number)
        name = server.port.name
        if name in seen:
            yield error(f"read {name!r}, which is given already; accepted is each name once", *path, "port", "name")
        seen.add(name)
        yield from _server(server, path)


def _server(server: Server, path: Path) -> Iterator[Remark]:
    if not server.hosts:
        yield error("missing; accepted is at least one host", *path, "hosts")
    for number, host in enumerate(server.hosts):
        yield from listener_hosts.of_gateway(host, (*path, "hosts", number))
    yield from _port(server, path)
    yield from of_bind(server.bind, path)
    if server.bind.startswith(formats.UNIX):
        yield error("not accepted with a port; a socket has none", *path, "bind")
    if server.tls is not None:
        yield from of_server_tls(server.tls, (*path, "tls"))
    yield from _tls_suits_the_protocol(server, (*path, "tls"))


def _port(server: Server, path: Path) -> Iterator[Remark]:
    yield from faulty(protocols.known(server.port.protocol), *path, "port", "protocol")
    if not server.port.name:
        yield error("missing; it is required", *path, "port", "name")
    if server.port.target_port:
        yield error("without effect; leave it out", *path, "port", "targetPort")


def of_bind(bind: str, path: Path) -> Iterator[Remark]:
    """Where a listener is bound to: an address, or a socket."""
    if bind.startswith(formats.UNIX):
        yield from faulty(formats.socket(bind.removeprefix(formats.UNIX)), *path, "bind")
    elif bind:
        yield from faulty(formats.address(bind), *path, "bind")


def _tls_suits_the_protocol(server: Server, path: Path) -> Iterator[Remark]:
    protocol, tls = server.port.protocol, server.tls
    if protocols.known(protocol) is not None:
        return
    if tls is None:
        if protocols.is_tls(protocol):
            yield error(f"missing; protocol {protocol} needs it", *path)
        return
    if tls.https_redirect and not protocols.is_http(protocol):
        yield warning("without effect: only plain HTTP can be redirected", *path, "httpsRedirect")
    if protocols.is_http(protocol):
        ends_tls = tls.mode not in ("PASSTHROUGH", "AUTO_PASSTHROUGH")
        if ends_tls or tls.ca_certificates or tls.private_key or tls.server_certificate:
            yield error(f"protocol {protocol} is plain text; accepted is httpsRedirect, or protocol HTTPS", *path)
    elif not protocols.is_tls(protocol):
        yield error(f"not accepted with protocol {protocol}; accepted is HTTPS or TLS", *path)
