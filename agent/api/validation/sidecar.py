"""Checks of Sidecar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.api.networking.gateway import ServerTls
from agent.api.networking.sidecar import EgressListener, IngressListener, OutboundTrafficPolicy, Sidecar, SidecarPort
from agent.api.validation import formats, listener_hosts, protocols
from agent.api.validation.connections import of_pool
from agent.api.validation.destinations import Path, of_destination
from agent.api.validation.gateway import of_bind
from agent.api.validation.remarks import Remark, error, faulty, said, warning
from agent.api.validation.selectors import of_networking_selector
from agent.api.validation.server_tls import of_server_tls

_ENDPOINT: Final = re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0|\[::1?\])?:([1-9][0-9]{0,4})")
_ENDPOINTS: Final = "127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH"
_NOT_AT_WORKLOADS: Final = {
    "https_redirect": "httpsRedirect",
    "subject_alt_names": "subjectAltNames",
    "credential_name": "credentialName",
    "credential_names": "credentialNames",
    "tls_certificates": "tlsCertificates",
}


def says_something(sidecar: Sidecar) -> Iterator[Remark]:
    spec = sidecar.spec
    yield from of_networking_selector(spec.workload_selector)
    if not (spec.ingress or spec.egress or spec.outbound_traffic_policy or spec.inbound_connection_pool):
        accepted = "ingress, egress, inboundConnectionPool, outboundTrafficPolicy"
        yield error(f"empty; accepted is at least one of {accepted}", "spec")
    yield from of_pool(spec.inbound_connection_pool, ("spec", "inboundConnectionPool"))
    if spec.outbound_traffic_policy is not None:
        yield from _outbound(spec.outbound_traffic_policy, ("spec", "outboundTrafficPolicy"))


def ingress(sidecar: Sidecar) -> Iterator[Remark]:
    seen: set[int] = set()
    for number, listener in enumerate(sidecar.spec.ingress):
        path = ("spec", "ingress", number)
        yield from _once(listener.port.number, seen, path)
        yield from _ingress(listener, path)


def egress(sidecar: Sidecar) -> Iterator[Remark]:
    seen: set[int] = set()
    sockets: set[str] = set()
    listeners = sidecar.spec.egress
    for number, listener in enumerate(listeners):
        path = ("spec", "egress", number)
        if listener.port is None:
            if number < len(listeners) - 1:
                yield error("missing; only the last listener may be for all other ports", *path, "port")
        elif listener.port.number:
            yield from _once(listener.port.number, seen, path)
        elif listener.bind in sockets:
            yield error(f"read {listener.bind!r}, which is given already; accepted is each socket once", *path, "bind")
        sockets.add(listener.bind)
        yield from _egress(listener, path)
        yield from _hosts(listener.hosts, sidecar.metadata.namespace, (*path, "hosts"))


def _once(port: int, seen: set[int], path: Path) -> Iterator[Remark]:
    if port in seen:
        yield error(f"read {port}, which is given already; accepted is each port once", *path, "port", "number")
    seen.add(port)


def _port(port: SidecarPort, path: Path) -> Iterator[Remark]:
    if port.target_port:
        yield error("without effect; leave it out", *path, "targetPort")
    if port.name:
        yield from faulty(formats.label_of_name(port.name), *path, "name")
    if port.protocol:
        yield from faulty(protocols.known(port.protocol), *path, "protocol")


def _ingress(listener: IngressListener, path: Path) -> Iterator[Remark]:
    yield from _port(listener.port, (*path, "port"))
    if not listener.port.number:
        yield error("missing; accepted is a number from 1 to 65535", *path, "port", "number")
    if listener.bind:
        yield from faulty(formats.address(listener.bind), *path, "bind")
    yield from _endpoint(listener.default_endpoint, (*path, "defaultEndpoint"))
    if listener.tls is not None:
        yield from _tls(listener.tls, (*path, "tls"))
        if not protocols.is_tls(listener.port.protocol):
            yield error(said(listener.port.protocol, "HTTPS or TLS beside tls"), *path, "port", "protocol")
    yield from of_pool(listener.connection_pool, (*path, "connectionPool"))
    is_for_http = listener.connection_pool is not None and listener.connection_pool.http is not None
    if is_for_http and not protocols.is_http(listener.port.protocol):
        told = f"without effect: protocol {listener.port.protocol or 'is empty and'} is not HTTP"
        yield warning(told, *path, "connectionPool", "http")


def _endpoint(endpoint: str, path: Path) -> Iterator[Remark]:
    if endpoint.startswith(formats.UNIX):
        yield from faulty(formats.socket(endpoint.removeprefix(formats.UNIX)), *path)
    elif endpoint:
        found = _ENDPOINT.fullmatch(endpoint)
        if found is None or int(found[1]) > 65535:
            yield error(said(endpoint, _ENDPOINTS), *path)


def _tls(tls: ServerTls, path: Path) -> Iterator[Remark]:
    for attribute, field in _NOT_AT_WORKLOADS.items():
        if getattr(tls, attribute):
            yield error("not accepted in a Sidecar", *path, field)
    if tls.mode in ("ISTIO_MUTUAL", "AUTO_PASSTHROUGH"):
        yield error(said(tls.mode, "another mode in a Sidecar"), *path, "mode")
    yield from of_server_tls(tls, path)


def _egress(listener: EgressListener, path: Path) -> Iterator[Remark]:
    if listener.port is None:
        return
    yield from _port(listener.port, (*path, "port"))
    is_socket = listener.bind.startswith(formats.UNIX)
    yield from of_bind(listener.bind, path)
    if listener.port.number and is_socket:
        yield error(said(listener.bind, "an address; a socket has port 0"), *path, "bind")
    if not listener.port.number and not is_socket:
        yield error(said(listener.bind, "unix:// and a path with port 0"), *path, "bind")
    if not listener.port.number and listener.capture_mode == "IPTABLES":
        yield error(said("IPTABLES", "DEFAULT or NONE with port 0"), *path, "captureMode")


def _hosts(hosts: tuple[str, ...], own: str, path: Path) -> Iterator[Remark]:
    if not hosts:
        yield error("missing; accepted is at least one NAMESPACE/HOST", *path)
    seen: set[tuple[str, str]] = set()
    for number, written in enumerate(hosts):
        yield from listener_hosts.of_egress(written, (*path, number))
        namespace, slash, host = written.partition("/")
        if not slash or namespace.startswith("~"):
            continue
        place = own if namespace == "." else namespace
        is_wide = host == "*" and any(earlier == place for earlier, _ in seen)
        if (place, host) in seen or (place, "*") in seen or is_wide:
            yield warning(f"read {written!r}, which other hosts cover or which covers others", *path, number)
        seen.add((place, host))
    if ("*", "*") in seen and len({namespace for namespace, _ in seen}) > 1:
        yield warning("*/* is all there is; the other hosts add nothing", *path)


def _outbound(policy: OutboundTrafficPolicy, path: Path) -> Iterator[Remark]:
    proxy = policy.egress_proxy
    if proxy is None:
        return
    if policy.mode != "ALLOW_ANY":
        yield error("accepted with mode ALLOW_ANY only", *path, "egressProxy")
    yield from of_destination(proxy, (*path, "egressProxy"))
    if formats.host(proxy.host) is not None and formats.host_or_wildcard(proxy.host) is None:
        yield from faulty(formats.host(proxy.host), *path, "egressProxy", "host")
    if proxy.port is None:
        yield error("missing; it is required", *path, "egressProxy", "port")
