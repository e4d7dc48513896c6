"""Ports of services and of pods."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Finding
from agent.api.kubernetes import Deployment, Service

_PROTOCOLS: Final = (
    "grpc-web grpc http2 http https mongo mysql redis tcp tls udp kubernetes.io/h2c kubernetes.io/ws kubernetes.io/wss"
)
_NAMED: Final = re.compile(rf"({'|'.join(map(re.escape, _PROTOCOLS.split()))})(-.*)?", re.IGNORECASE)


def protocols(corpus: Corpus) -> Iterator[Finding]:
    """IST0118, IST0150: a port whose name says nothing of its protocol."""
    for service in corpus.of(Service):
        if workloads.is_of_cluster(service.namespace):
            continue
        code = "IST0150" if service.value.spec.type == "ExternalName" else "IST0118"
        for number, port in enumerate(service.value.spec.ports):
            if port.protocol == "TCP" and not port.app_protocol and not _NAMED.fullmatch(port.name):
                yield service.finding(code, "spec", "ports", number, name=port.name, port=port.port)


def conflicts(corpus: Corpus) -> Iterator[Finding]:
    """IST0137: one deployment behind two services that send one port of theirs to different ports of its pods."""
    for workload in workloads.workloads(corpus):
        if not isinstance(workload.entry.value, Deployment):
            continue
        seen: dict[int, dict[str, str]] = defaultdict(dict)
        for service in corpus.of(Service):
            if workloads.served_by(service, workload):
                for port in service.value.spec.ports:
                    target = str(port.target_port if port.target_port is not None else port.port)
                    seen[port.port].setdefault(target, service.key.name)
        for number, targets in seen.items():
            if len(targets) > 1:
                told = ", ".join(f"{service} to {target}" for target, service in sorted(targets.items()))
                yield workload.entry.finding("IST0137", "metadata", port=number, targets=told)
