"""Checks of WorkloadEntry and WorkloadGroup, and of the endpoints of a ServiceEntry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.api.networking.workload_entry import WorkloadEntry, WorkloadEntrySpec
from agent.api.networking.workload_group import ReadinessProbe, WorkloadGroup
from agent.api.validation import formats
from agent.api.validation.destinations import Path, of_labels
from agent.api.validation.remarks import Remark, error, faulty, said, warning

_PROBES: Final = ("http_get", "tcp_socket", "exec", "grpc")
_PROBE_HEADER: Final = re.compile(r"[-A-Za-z0-9]+")  # Kubernetes' IsHTTPHeaderName


def entry(entry: WorkloadEntry) -> Iterator[Remark]:
    yield from of_endpoint(entry.spec, ("spec",), may_be_name=True)


def group(group: WorkloadGroup) -> Iterator[Remark]:
    spec = group.spec
    if spec.metadata is not None:
        yield from of_labels(spec.metadata.labels, ("spec", "metadata", "labels"))
    yield from of_labels(spec.template.labels, ("spec", "template", "labels"))
    if spec.probe is not None:
        yield from of_probe(spec.probe, ("spec", "probe"))


def of_endpoint(entry: WorkloadEntrySpec, path: Path, *, may_be_name: bool) -> Iterator[Remark]:
    """`may_be_name`: the address may be one of DNS."""
    address = entry.address
    if not address:
        if entry.network:
            yield warning(f"missing; it is whatever network {entry.network!r} has a gateway for", *path, "address")
        else:
            yield error("missing; it is required, unless there is a network", *path, "address")
    elif not address.startswith(formats.UNIX) and not formats.is_address(address):
        accepted = "an address, or a name of DNS" if may_be_name else "an address with this resolution"
        if not may_be_name or formats.host(address):
            yield error(said(address, accepted), *path, "address")
    yield from of_labels(entry.labels, (*path, "labels"))


def of_probe(probe: ReadinessProbe, path: Path) -> Iterator[Remark]:
    if all(getattr(probe, kind) is None for kind in _PROBES):
        yield error("missing; accepted is exactly one of httpGet, tcpSocket, exec, grpc", *path)
    if probe.exec is not None and not probe.exec.command:
        yield error("missing; accepted is a program with its arguments", *path, "exec", "command")
    if probe.http_get is not None:
        for number, header in enumerate(probe.http_get.http_headers):
            if not _PROBE_HEADER.fullmatch(header.name):
                told = said(header.name, "a header's name: letters, digits and -")
                yield error(told, *path, "httpGet", "httpHeaders", number, "name")
    if probe.grpc is not None and probe.grpc.port is None:
        yield from faulty("missing; it is required", *path, "grpc", "port")
