"""The hosts of a corpus: names under which its Services and ServiceEntries can be reached.

Names are completed as Istio completes them: one without a dot is a Service of the namespace that
it is read in, NAME.NAMESPACE.svc.cluster.local is a Service, anything else a name of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.analysis.corpus import Corpus, Entry, view
from agent.api.kubernetes import Service
from agent.api.networking.service_entry import ServiceEntry
from agent.wire import DEFAULT_CLUSTER_DOMAIN

_SUFFIX = f".svc.{DEFAULT_CLUSTER_DOMAIN}"


@dataclass(frozen=True, slots=True)
class Host:
    """What a name stands for."""

    entry: Entry[Service] | Entry[ServiceEntry]

    @property
    def ports(self) -> tuple[int, ...]:
        value = self.entry.value
        if isinstance(value, ServiceEntry):
            return tuple(port.number for port in value.spec.ports)
        return tuple(port.port for port in value.spec.ports)

    @property
    def has_any_port(self) -> bool:
        """Whether it is for every port, for it names none."""
        return not self.ports


def full(namespace: str, host: str) -> str:
    """The name as the whole mesh knows it."""
    return f"{host}.{namespace}{_SUFFIX}" if "." not in host and host != "*" else host


def of_service(service: Entry[Service]) -> str:
    """A Service's own full name."""
    return full(service.namespace, service.name)


def resolve(corpus: Corpus, namespace: str, host: str) -> Host | None:
    """What a resource in the namespace means by a host; None if nothing that it sees has the name."""
    name = full(namespace, host)
    known = _by_name(corpus)
    for candidate in patterns(name):
        for entry in known.get(candidate, ()):
            if _is_visible(entry, namespace):
                return Host(entry)
    return None


def is_known_below(corpus: Corpus, wildcard: str) -> bool:
    """Whether a name that exists ends as the wildcard does."""
    return wildcard == "*" or wildcard.removeprefix("*") in _endings(corpus)


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is one that `pattern` does; either may begin with `*`."""
    if pattern.startswith("*"):
        return host.removeprefix("*").endswith(pattern[1:]) and host != pattern[1:]
    return pattern == host


def overlap(one: str, other: str) -> bool:
    """Whether there are names that both stand for."""
    return covers(one, other) or covers(other, one)


def patterns(name: str) -> list[str]:
    """The name, then the wildcards that cover it, the longest first."""
    labels = name.removeprefix("*.").split(".")
    first = 0 if name.startswith("*") else 1
    return [name, *(f"*.{'.'.join(labels[start:])}" for start in range(first, len(labels)))]


@view
def _by_name(corpus: Corpus) -> Mapping[str, Sequence[Entry[Service] | Entry[ServiceEntry]]]:
    found: dict[str, list[Entry[Service] | Entry[ServiceEntry]]] = defaultdict(list)
    for service in corpus.of(Service):
        found[of_service(service)].append(service)
    for entry in corpus.of(ServiceEntry):
        for host in entry.value.spec.hosts:
            found[full(entry.namespace, host)].append(entry)
    return found


@view
def _endings(corpus: Corpus) -> frozenset[str]:
    """What begins with a dot in a known name, to its end."""
    found: set[str] = set()
    for name in _by_name(corpus):
        labels = name.split(".")
        found |= {f".{'.'.join(labels[start:])}" for start in range(1, len(labels))}
    return frozenset(found)


def _is_visible(entry: Entry[Service] | Entry[ServiceEntry], namespace: str) -> bool:
    if not isinstance(entry.value, ServiceEntry) or not entry.value.spec.export_to:
        return True
    named = entry.value.spec.export_to
    return "*" in named or namespace in named or ("." in named and namespace == entry.namespace)
