"""Keeps the Address resources in step with the cluster: only what a change touched is computed anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from agent import wire
from agent.api.cluster_network import EndpointSlice
from agent.controller import endpoints, workloads
from agent.controller.cluster import Candidate, ClusterState, Key, Locality, Touched
from agent.controller.entries import registry
from agent.controller.entries.messages import Place
from agent.controller.entries.outcome import Shortfall
from agent.controller.entries.publication import Publication
from agent.controller.resources import Resource, resource
from agent.controller.touched import Holder
from agent.model import Pod
from agent.proto import workload_pb2 as pb

logger = logging.getLogger(__name__)

Publish = Callable[[str, list[Resource], list[str]], None]  # type URL, changed, names removed


class Addresses:
    """Owned by the task that reads the watch."""

    def __init__(self, state: ClusterState, publish: Publish, *, cluster: str, trust_domain: str) -> None:
        self._state = state
        self._publish = publish
        self._cluster = cluster
        self._trust_domain = trust_domain
        self._claims: dict[str, dict[Key, None]] = {}  # address: pods that have it, the oldest claim first
        self._claimed: dict[Key, tuple[str, ...]] = {}
        self._publication = Publication(state, Place(cluster, trust_domain))
        self._entries: dict[Holder, set[str]] = {}  # names of what is published for an entry
        self._waiting: frozenset[Holder] = frozenset()
        self._lacks: dict[Holder, tuple[Shortfall, ...]] = {}
        self._endpoints: dict[Key, set[str]] = {}  # names of what is published for a service's EndpointSlices

    def update(self, touched: Touched) -> None:
        """Publish what became of the touched objects."""
        changed: list[Resource] = []
        removed: list[str] = []
        for key in sorted(touched.services):
            self._update_service(key, changed, removed)
        for key in sorted(touched.pods):
            self._update_pod(key, changed, removed)
        for key in sorted(touched.endpoints):
            self._update_endpoints(key, changed, removed)
        # While all is read for the first time, many entries may wait for one another: they are judged once, at the end.
        self._waiting |= touched.entries
        for holder in sorted(self._waiting) if self._state.is_synced else ():
            self._update_entry(holder, changed, removed)
        if self._state.is_synced:
            self._waiting = frozenset()
        # What one object has lost by this change, such as a host, another may have won.
        names = {each.name for each in changed}
        removed = [name for name in removed if name not in names]
        if changed or removed:
            self._publish(wire.ADDRESS_TYPE, changed, removed)

    def problems(self) -> list[str]:
        """Addresses that several pods claim; a proxy refuses connections to them. What entries fall short of."""
        conflicts = [_conflict(address, keys) for address, keys in sorted(self._claims.items()) if len(keys) > 1]
        return conflicts + [f"{holder}: {each.text}" for holder in sorted(self._lacks) for each in self._lacks[holder]]

    def shortfalls(self, entry: Holder) -> tuple[Shortfall, ...]:
        """What of one entry is not as it is written."""
        return self._lacks.get(entry, ())

    def _update_service(self, key: Key, changed: list[Resource], removed: list[str]) -> None:
        found = self._state.services.get(key) if self._state.has(key[0]) else None
        if found is None or not workloads.is_routed(found):
            namespace, name = key
            removed.append(f"{namespace}/{name}.{namespace}.svc.{wire.DEFAULT_CLUSTER_DOMAIN}")
            return
        aliases = [f"/{address}" for address in found.spec.virtual_addresses]
        name = workloads.service_name(found)
        annotations = self._state.annotations.get(key[0], {})
        changed.append(resource(wire.ADDRESS_TYPE, name, workloads.service(found, annotations), aliases=aliases))

    def _update_pod(self, key: Key, changed: list[Resource], removed: list[str]) -> None:
        candidate = self._state.candidates.get(key) if self._state.has(key[0]) else None
        if candidate is None or not workloads.is_published(candidate.pod):
            self._claim(key, ())
            removed.append(workloads.workload_uid(self._cluster, *key))
            return
        # The host's address is every host-network pod's: no claim, and no way to ask for one of them by it.
        own = () if candidate.pod.host_network else candidate.pod.addresses
        self._claim(key, own)
        changed.append(self._workload(candidate, [f"/{address}" for address in own]))

    def _update_endpoints(self, key: Key, changed: list[Resource], removed: list[str]) -> None:
        service = self._state.services.get(key) if self._state.has(key[0]) else None
        slices = self._state.slices.of(key) if service is not None else ()
        found: list[Resource] = []
        if service is not None:
            names = {"cluster": self._cluster, "trust_domain": self._trust_domain}
            for address in endpoints.endpoints(service, slices, self._state.has_pod_at, **names):
                services = address.workload.services
                found.append(resource(wire.ADDRESS_TYPE, address.workload.uid, address, topics=services))
        names_now = {each.name for each in found}
        changed += found
        removed += sorted(self._endpoints.pop(key, set()) - names_now)
        if names_now:
            self._endpoints[key] = names_now

    def _update_entry(self, holder: Holder, changed: list[Resource], removed: list[str]) -> None:
        outcome = self._publication.of(holder)
        found = [
            resource(wire.ADDRESS_TYPE, name, pb.Address(service=service), aliases=outcome.aliases[name])
            for name, service in outcome.services.items()
        ]
        for uid, workload in outcome.workloads.items():
            new = resource(
                wire.ADDRESS_TYPE,
                uid,
                pb.Address(workload=workload),
                aliases=outcome.aliases.get(uid, ()),
                topics=workload.services,
                policies=workload.authorization_policies,
            )
            found.append(new)
        names_now = {each.name for each in found}
        changed += found
        removed += sorted(self._entries.pop(holder, set()) - names_now)
        if names_now:
            self._entries[holder] = names_now
        self._report(holder, outcome.told())

    def _report(self, holder: Holder, lacks: tuple[Shortfall, ...]) -> None:
        if lacks == self._lacks.get(holder, ()):
            return
        for each in lacks:
            logger.warning("entry is not in force as it is written", extra={"object": holder, "reason": each.text})
        self._lacks[holder] = lacks
        if not lacks:
            del self._lacks[holder]

    def _workload(self, candidate: Candidate, aliases: list[str]) -> Resource:
        pod = candidate.pod
        address = workloads.workload(
            candidate,
            self._state.services_selecting(pod),
            cluster=self._cluster,
            trust_domain=self._trust_domain,
            locality=self._state.localities.get(pod.node, Locality()),
            policies=self._state.listed_policies(pod),
        )
        slices = [*self._state.slices.naming((pod.namespace, pod.name)), *self._slices_at(pod)]
        for service, ports in endpoints.memberships(pod, slices, self._state.services):
            address.workload.services[workloads.service_name(service)].ports.extend(ports)
        for joined, port_list in self._publication.joined(candidate):
            address.workload.services[joined].CopyFrom(port_list)
        name = workloads.workload_uid(self._cluster, pod.namespace, pod.name)
        named = address.workload.authorization_policies
        return resource(
            wire.ADDRESS_TYPE, name, address, aliases=aliases, topics=address.workload.services, policies=named
        )

    def _slices_at(self, pod: Pod) -> Iterator[EndpointSlice]:
        """Slices that name one of the pod's addresses, but no pod."""
        if pod.host_network:
            return
        claims = {claim for address in pod.addresses for claim in self._state.entries.claims.at(address)}
        for service in sorted(claim.holder.key for claim in claims if claim.holder.kind == registry.ENDPOINTS):
            yield from self._state.slices.of(service)

    def _claim(self, key: Key, addresses: tuple[str, ...]) -> None:
        old = self._claimed.get(key, ())
        if old == addresses:
            return
        for address in old:
            keys = self._claims[address]
            keys.pop(key, None)
            if not keys:
                del self._claims[address]
        for address in addresses:
            keys = self._claims.setdefault(address, {})
            keys[key] = None
            if len(keys) > 1:
                logger.error("several pods claim one address", extra={"reason": _conflict(address, keys)})
        self._claimed[key] = addresses
        if not addresses:
            del self._claimed[key]


def _conflict(address: str, keys: Iterable[Key]) -> str:
    return f"address {address} is claimed by pods " + ", ".join("/".join(key) for key in keys)
