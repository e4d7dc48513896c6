"""The cluster's EndpointSlices, by the services that they are for and by the pods that they name."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from agent.api.cluster_network import EndpointSlice
from agent.controller.entries.terms import canonical
from agent.controller.touched import Key

SERVICE_LABEL: Final = "kubernetes.io/service-name"  # says whose a slice is


@dataclass(frozen=True, slots=True)
class Concerned:
    """The services whose endpoints, and the pods whose services, some slices are about."""

    services: frozenset[Key] = frozenset()
    pods: frozenset[Key] = frozenset()

    def __or__(self, other: Concerned) -> Concerned:
        return Concerned(self.services | other.services, self.pods | other.pods)


def plain_addresses(slices: Iterable[EndpointSlice]) -> set[str]:
    """Addresses of endpoints of which nothing else is said, such as which pod is there."""
    endpoints = (endpoint for each in slices if each.address_type != "FQDN" for endpoint in each.endpoints)
    texts = (address for each in endpoints if each.target_ref is None for address in each.addresses[:1])
    return {address for text in texts if (address := canonical(text)) is not None}


class Slices:
    """Owned by the task that reads the watch."""

    def __init__(self) -> None:
        self._slices: dict[Key, EndpointSlice] = {}
        self._by_service: dict[Key, dict[Key, EndpointSlice]] = {}
        self._by_pod: dict[Key, dict[Key, EndpointSlice]] = {}

    def put(self, new: EndpointSlice) -> Concerned:
        """Take in a slice; what it was about before, and is now."""
        key = (new.metadata.namespace, new.metadata.name)
        before, now = self.remove(key), concerned([new])
        self._slices[key] = new
        for index, keys in ((self._by_service, now.services), (self._by_pod, now.pods)):
            for each in keys:
                index.setdefault(each, {})[key] = new
        return before | now

    def remove(self, key: Key) -> Concerned:
        """Forget a slice; what it was about."""
        old = self._slices.pop(key, None)
        if old is None:
            return Concerned()
        was = concerned([old])
        for index, keys in ((self._by_service, was.services), (self._by_pod, was.pods)):
            for each in keys:
                del index[each][key]
                if not index[each]:
                    del index[each]
        return was

    def of(self, service: Key) -> Collection[EndpointSlice]:
        return self._by_service.get(service, {}).values()

    def naming(self, pod: Key) -> Collection[EndpointSlice]:
        """Those of the pod's namespace that have it for an endpoint."""
        return self._by_pod.get(pod, {}).values()


def concerned(slices: Iterable[EndpointSlice]) -> Concerned:
    """What they are about. Of pods only those of their own namespace, whomever else they name."""
    found = Concerned()
    for each in slices:
        namespace, name = each.metadata.namespace, each.metadata.labels.get(SERVICE_LABEL)
        targets = (endpoint.target_ref for endpoint in each.endpoints)
        pods = frozenset(
            (namespace, target.name)
            for target in targets
            if target is not None and target.kind == "Pod" and target.namespace in ("", namespace)
        )
        found |= Concerned(frozenset({(namespace, name)} if name else ()), pods)
    return found
