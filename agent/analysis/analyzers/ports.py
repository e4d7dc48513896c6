"""Ports of services and of pods."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from agent.analysis import waypoints, workloads
from agent.analysis.corpus import Corpus, Finding
from agent.api.kubernetes import Deployment, Service, ServicePort

_PROTOCOLS: Final = (
    "grpc-web grpc http2 http https mongo mysql redis tcp tls udp kubernetes.io/h2c kubernetes.io/ws kubernetes.io/wss"
)
_NAMED: Final = re.compile(rf"({'|'.join(map(re.escape, _PROTOCOLS.split()))})(-.*)?", re.IGNORECASE)
# Of IANA's registry, where the server sends the first bytes. 25, 3306 and 27017 are not among them:
# Istio's control plane takes these for TCP by their numbers alone.
_SERVER_FIRST: Final[Mapping[int, str]] = {
    21: "FTP",
    22: "SSH",
    110: "POP3",
    119: "NNTP",
    143: "IMAP",
    587: "SMTP submission",
    873: "rsync",
    2525: "SMTP",
    4222: "NATS",
    5900: "VNC",
    33060: "MySQL X",
}


def protocols(corpus: Corpus) -> Iterator[Finding]:
    """IST0118, IST0150: a port whose name says no protocol; WEFT0017: and on which the server speaks first."""
    for service in corpus.of(Service):
        if workloads.is_of_cluster(service.namespace):
            continue
        has_waypoint = waypoints.waypoint_of(corpus, service) is not None
        for number, port in enumerate(service.value.spec.ports):
            if port.protocol != "TCP" or port.app_protocol or _NAMED.fullmatch(port.name):
                continue
            speaks = _speaks_first(port)
            if speaks and has_waypoint:
                yield service.finding("WEFT0017", "spec", "ports", number, port=port.port, protocol=speaks)
                continue
            code = "IST0150" if service.value.spec.type == "ExternalName" else "IST0118"
            yield service.finding(code, "spec", "ports", number, name=port.name, port=port.port)


def conflicts(corpus: Corpus) -> Iterator[Finding]:
    """IST0137: one deployment behind two services that send one port of theirs to different ports of its pods."""
    for workload in workloads.workloads(corpus):
        if not isinstance(workload.entry.value, Deployment):
            continue
        seen: dict[int, dict[str, str]] = defaultdict(dict)
        for service in workloads.services_of(corpus, workload):
            for port in service.value.spec.ports:
                target = str(port.target_port if port.target_port is not None else port.port)
                seen[port.port].setdefault(target, service.name)
        for number, targets in seen.items():
            if len(targets) > 1:
                told = ", ".join(f"{service} to {target}" for target, service in sorted(targets.items()))
                yield workload.entry.finding("IST0137", "metadata", port=number, targets=told)


def _speaks_first(port: ServicePort) -> str:
    """The protocol that the port, or the one behind it, is known for; empty if its clients speak first."""
    target = port.target_port if isinstance(port.target_port, int) else port.port
    return _SERVER_FIRST.get(port.port) or _SERVER_FIRST.get(target, "")
