"""Service addresses outside the mesh: the cluster's kube-proxy, not a part of Weft.

Each node turns a connection to a service's address into one to a ready endpoint, chosen at
random, with nftables in its own namespace. Sources stay as they are, but for a pod that
reaches itself through a service. What has no endpoint is rejected.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from agent.api.kubernetes import Pod, Service, ServicePort
from agent.api.objects import NamedObject
from agent.errors import KernelError, WeftError
from agent.lab.addresses import SERVICES_V4, SERVICES_V6
from agent.lab.layout import netns_path

logger = logging.getLogger(__name__)

_TABLE = f"""\
table inet weft-lab {{
    chain services {{ }}
    chain prerouting {{ type nat hook prerouting priority -100; jump services; }}
    chain output {{ type nat hook output priority -100; jump services; }}
    chain itself {{ type nat hook postrouting priority 100; }}
    chain unserved {{
        ip daddr {SERVICES_V4} meta l4proto tcp reject with tcp reset
        ip6 daddr {SERVICES_V6} meta l4proto tcp reject with tcp reset
        ip daddr {SERVICES_V4} reject
        ip6 daddr {SERVICES_V6} reject
    }}
    chain forward {{ type filter hook forward priority 0; jump unserved; }}
    chain local {{ type filter hook output priority 0; jump unserved; }}
}}
"""


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """One service port on one service address, with the endpoints of its family."""

    address: str
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The pod's port behind a service's port; None when the pod has no port of that name."""
    wanted = port.target_port if port.target_port is not None else port.port
    if isinstance(wanted, int):
        return wanted
    for container in pod.spec.containers:
        for candidate in container.ports:
            if candidate.name == wanted and candidate.protocol == port.protocol:
                return candidate.container_port
    return None


def selected(service: Service, pods: Iterable[Pod]) -> list[Pod]:
    """The pods behind a service that may get connections now, in order of their names."""
    selector = service.spec.selector.items()
    return sorted(
        (
            pod
            for pod in pods
            if selector
            and pod.metadata.namespace == service.metadata.namespace
            and selector <= pod.metadata.labels.items()
            and not pod.metadata.deletion_timestamp
            and pod.status.phase not in ("Succeeded", "Failed")
            and (pod.status.is_ready or service.spec.publish_not_ready_addresses)
        ),
        key=lambda pod: pod.full_name,
    )


def backends(services: Iterable[Service], pods: Sequence[Pod]) -> list[Backend]:
    """What every node must know, in a fixed order."""
    found: list[Backend] = []
    for service in services:
        chosen = selected(service, pods)
        for address in service.spec.virtual_addresses:
            for port in service.spec.ports:
                endpoints = tuple(
                    (pod_address.ip, number)
                    for pod in chosen
                    if (number := target_port(port, pod)) is not None
                    for pod_address in pod.status.pod_ips
                    if ip_address(pod_address.ip).version == ip_address(address).version
                )
                found.append(Backend(address, port.protocol.lower(), port.port, endpoints))
    return sorted(found)


def ruleset(wanted: Sequence[Backend]) -> str:
    """The nftables commands that make a node serve exactly these, in one transaction.

    Only the rules are replaced, never the table: established connections keep their way.
    """
    lines = [_TABLE, "flush chain inet weft-lab services", "flush chain inet weft-lab itself"]
    lines += [f"add rule inet weft-lab services {_rule(backend)}" for backend in wanted if backend.endpoints]
    for family, version in (("ip", 4), ("ip6", 6)):
        hosts = sorted({host for backend in wanted for host, _ in backend.endpoints if _version(host) == version})
        if hosts:
            pairs = ", ".join(f"{host} . {host}" for host in hosts)
            lines.append(f"add rule inet weft-lab itself {family} saddr . {family} daddr {{ {pairs} }} masquerade")
    return "\n".join(lines) + "\n"


def _rule(backend: Backend) -> str:
    family = "ip" if _version(backend.address) == 4 else "ip6"
    choices = ", ".join(f"{i} : {host} . {port}" for i, (host, port) in enumerate(backend.endpoints))
    match = f"{family} daddr {backend.address} {backend.protocol} dport {backend.port}"
    return f"{match} dnat {family} to numgen random mod {len(backend.endpoints)} map {{ {choices} }}"


def _version(address: str) -> int:
    return ip_address(address).version


def load(netns: str, rules: str) -> None:
    """Apply a ruleset in a namespace; KernelError with nft's words when it refuses."""
    command = ["nsenter", f"--net={netns_path(netns)}", "nft", "-f", "-"]
    done = subprocess.run(command, input=rules, text=True, capture_output=True, timeout=10, check=False)
    if done.returncode != 0:
        raise KernelError(f"nft in {netns}: {done.stderr.strip()}; is nftables in this kernel?")


async def keep_loaded(changed: asyncio.Event, rules: Callable[[], str], namespaces: Sequence[str]) -> None:
    """Keep the rules of these nodes' namespaces up to date, for ever; a node that refuses them gets them again at the
    next change."""
    loaded: dict[str, str] = {}
    while True:
        await changed.wait()
        changed.clear()
        wanted = rules()
        for netns in namespaces:
            if loaded.get(netns) == wanted:
                continue
            try:
                await asyncio.to_thread(load, netns, wanted)
                loaded[netns] = wanted
            except WeftError as exc:
                logger.error("service addresses are out of date", extra={"netns": netns, "reason": exc})


def host_names(service: Service) -> tuple[str, ...]:
    """A service's names that are the same in every namespace."""
    name, namespace = service.metadata.name, service.metadata.namespace
    return f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"


def hosts_file(pod: Pod, services: Iterable[Service], pods: Sequence[Pod]) -> str:
    """The /etc/hosts of a pod: itself, and every service by all the names that Kubernetes' DNS has for it."""
    published = [(service, _published(service, pods)) for service in services]
    return hosts(pod, pod.metadata.name, [address.ip for address in pod.status.pod_ips], published)


def hosts(
    pod: NamedObject, hostname: str, addresses: Iterable[str], published: Iterable[tuple[Service, Sequence[str]]]
) -> str:
    """As hosts_file; `published` has each service with the addresses that its names stand for."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {hostname}" for address in addresses]
    for service, found in sorted(published, key=lambda pair: pair[0].full_name):
        names = list(host_names(service))
        if service.metadata.namespace == pod.metadata.namespace:
            names.insert(0, service.metadata.name)
        lines += [f"{address} {' '.join(names)}" for address in found]
    return "\n".join(lines) + "\n"


def _published(service: Service, pods: Sequence[Pod]) -> list[str]:
    if not service.spec.is_headless:
        return list(service.spec.virtual_addresses)
    return [address.ip for pod in selected(service, pods) for address in pod.status.pod_ips]


def resolv_conf(namespace: str, dns: str) -> str:
    """The resolver settings of a namespace's pods: what hosts does not know is asked of the cluster's DNS service."""
    search = f"{namespace}.svc.cluster.local svc.cluster.local cluster.local"
    return f"search {search}\nnameserver {dns}\noptions ndots:5\n"
