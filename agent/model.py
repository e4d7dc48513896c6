"""The vocabulary that all processes share. Frozen values, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NewType

from agent.errors import InvalidObjectError
from agent.wire import (
    DEFAULT_TRUST_DOMAIN,
    REDIRECTION_ANNOTATION,
    REDIRECTION_ENABLED,
    SIDECAR_ANNOTATION,
    SIDECARS,
)

PodUid = NewType("PodUid", str)
NodeName = NewType("NodeName", str)

_SPIFFE = re.compile(r"spiffe://(?P<trust_domain>[^/]+)/ns/(?P<namespace>[^/]+)/sa/(?P<service_account>[^/]+)")


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """The SPIFFE ID of a service account: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT."""

    namespace: str
    service_account: str
    trust_domain: str = DEFAULT_TRUST_DOMAIN

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Raises InvalidObjectError for anything but the one form above."""
        match = _SPIFFE.fullmatch(text)
        if match is None:
            raise InvalidObjectError(
                f"identity {text!r} is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
            )
        return cls(**match.groupdict())


@dataclass(frozen=True, slots=True)
class Pod:
    """What the mesh needs of a Kubernetes pod.

    addresses: textual, the primary one first; empty until the pod has its network.
    labels, annotations: as written; treat as read-only.
    sidecar: what shows that a proxy of its own carries its traffic; empty without one.
    probe_ports: where its kubelet calls it.
    """

    uid: PodUid
    name: str
    namespace: str
    service_account: str
    node: NodeName
    addresses: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    is_ready: bool = False
    is_finished: bool = False  # phase Succeeded or Failed: its addresses may be another pod's
    is_terminating: bool = False
    workload_name: str = ""  # the Deployment or other owner; the pod's own name without one
    workload_type: str = "pod"  # deployment, cronjob, job, pod
    sidecar: str = ""
    probe_ports: tuple[int, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def is_redirected(self) -> bool:
        """Whether its node agent says that its traffic goes through the mesh; in its host's network none can."""
        return self.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTION_ENABLED and not self.host_network

    def identity(self, trust_domain: str) -> Identity:
        return Identity(self.namespace, self.service_account, trust_domain)


def sidecar_of(annotations: Mapping[str, str], containers: Iterable[str | None]) -> str:
    """What shows that a pod has a sidecar, from the names of its containers and init containers; empty without one.

    A sidecar may be an init container that goes on running (Kubernetes 1.29).
    """
    names = set(containers)
    found = next((name for name in SIDECARS if name in names), None)
    if found is not None:
        return f"container {found}"
    return f"annotation {SIDECAR_ANNOTATION}" if SIDECAR_ANNOTATION in annotations else ""
