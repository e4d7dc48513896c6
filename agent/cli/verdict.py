"""What `weft explain` finds out about one connection: its parts, and the verdict that follows. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.cli import places
from agent.cli.catalogue import Catalogue, Service, Workload
from agent.errors import NotFoundError

Json = dict[str, Any]

ALLOWED, REFUSED, UNKNOWN = "allowed", "refused", "unknown"
HBONE, PLAIN, NOWHERE = "hbone", "plain", "nowhere"  # how the client's node sends the connection on
NO_HEALTHY_ENDPOINT: Final = "no healthy endpoint"  # as the engine begins to say it
MOST_ENDPOINTS: Final = 16  # that are asked of one service


@dataclass(frozen=True, slots=True)
class Client:
    """The pod that calls. uid: as its proxy serves it; None when its traffic is not redirected, or nobody can tell."""

    workload: Workload
    uid: str | None = None

    @property
    def identity(self) -> str | None:
        """What it can prove to whom it calls."""
        return self.workload.identity if self.workload.is_enrolled else None


@dataclass(frozen=True, slots=True)
class Destination:
    """An address that the name stands for, and what is known to be there."""

    address: str
    port: int
    service: Service | None = None
    pod: Workload | None = None

    def __str__(self) -> str:
        return places.joined(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Leg:
    """One endpoint that the connection may end at. by: plain is TCP in the clear.

    workload: None outside the cluster. is_judged: a proxy stands before it. field, considered, trial: what that says
    in more detail, if it does: what decided, the policies that it held the connection against, and what would become
    of it if the dry-run policies counted. as_itself: what it would say of a client that it refused without an
    identity, if that showed its own.
    """

    target: str
    by: str
    verdict: str
    reason: str
    workload: Workload | None = None
    policy: str | None = None
    rule: int | None = None
    field: str | None = None
    considered: tuple[Json, ...] = ()
    considered_more: int = 0
    trial: Json | None = None
    is_judged: bool = False
    as_itself: Json | None = None


@dataclass(slots=True)
class Answer:
    """Filled as far as it can be told; `advice` is what would change it."""

    source: places.PodName
    target: places.Target
    client: Client | None = None
    destinations: Sequence[Destination] = ()
    departure: Json | None = None
    legs: list[Leg] = field(default_factory=list)
    endpoints: int = 0  # of the service, of which the legs may be some
    verdict: str = UNKNOWN
    reason: str = ""
    advice: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)

    @property
    def service(self) -> Service | None:
        return next((each.service for each in self.destinations), None)

    def conclude(self) -> None:
        """The verdict over all parts."""
        self.verdict, self.reason = conclusion(self.legs, self.away)


def conclusion(legs: Sequence[Leg], away: Sequence[str]) -> tuple[str, str]:
    """Verdict and reason: whatever cannot be told comes first, then a refusal. `away`: what could not be asked."""
    unknown = [leg.reason for leg in legs if leg.verdict == UNKNOWN]
    if away or unknown:
        return UNKNOWN, "; ".join(dict.fromkeys([*away, *unknown]))
    refused = [leg for leg in legs if leg.verdict == REFUSED]
    if not refused:
        return ALLOWED, "; ".join(dict.fromkeys(leg.reason for leg in legs))
    some = f"{len(refused)} of {len(legs)} endpoints refuse: " if len(refused) < len(legs) else ""
    return REFUSED, some + "; ".join(dict.fromkeys(leg.reason for leg in refused))


def destinations(catalogue: Catalogue, client: Workload, target: places.Target) -> list[Destination]:
    """Where the target is, in the client's eyes. NotFoundError when nobody knows it."""
    if isinstance(target.host, places.PodName):
        pod = catalogue.pod(target.host)
        if pod is None:
            raise NotFoundError(unknown_pod(target.host, catalogue))
        return [Destination(_first_shared(client, pod.addresses), target.port, pod=pod)]
    service = catalogue.service(target.host, client.name.namespace)
    if places.is_address(target.host):
        pod = catalogue.pod_at(target.host) if service is None else None
        return [Destination(target.host, target.port, service, pod)]
    if service is None:
        unknown = f"no Service is called {target.host!r} where {client.name} is"
        raise NotFoundError(f"{unknown}; of a host outside the cluster give the address")
    if service.addresses:
        return [Destination(_first_shared(client, service.addresses), target.port, service)]
    found = [pod for uid in service.endpoints if (pod := catalogue.workload(uid)) is not None]
    pods = [pod for pod in found if pod.is_healthy or service.takes_unhealthy]
    if not pods:
        raise NotFoundError(f"Service {service.hostname} has no address and no ready pod: its name leads nowhere")
    # Headless: the name stands for the pods themselves.
    return [Destination(_first_shared(client, pod.addresses), target.port, service, pod) for pod in pods]


def endpoints(
    catalogue: Catalogue, client: Workload, service: Service, port: int, address: str
) -> list[tuple[Workload, int]]:
    """The pods that a service's port may lead to, with the port that they serve it on."""
    found = []
    for uid, ports in sorted(service.endpoints.items()):
        pod = catalogue.workload(uid)
        if pod is None or port not in ports or pod.address_like(address) is None:
            continue
        if (pod.is_healthy or service.takes_unhealthy) and (pod.node == client.node or not service.is_local):
            found.append((pod, ports[port]))
    return found


def why_no_endpoint(service: Service, port: int) -> str:
    """In the engine's words."""
    name = f"{service.namespace}/{service.hostname}"
    if port not in service.ports:
        return f"service {name} has no port {port}"
    return f"{NO_HEALTHY_ENDPOINT} of service {name}"


def unknown_pod(name: places.PodName, catalogue: Catalogue) -> str:
    known = ", ".join(catalogue.names_in(name.namespace)[:10])
    return f"no pod {name} is known to the proxies; of its namespace they know: {known or 'none'}"


def _first_shared(client: Workload, addresses: Iterable[str]) -> str:
    """The first that the client has an address of the same family for, as its resolver would choose."""
    addresses = list(addresses)
    return next((each for each in addresses if client.address_like(each) is not None), addresses[0])
