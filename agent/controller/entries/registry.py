"""The ServiceEntries and WorkloadEntries of the cluster, and what a change of one may alter besides itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.workload_entry import WorkloadEntry
from agent.controller.entries import terms
from agent.controller.entries.claims import Claim, Claims, Role
from agent.controller.entries.hosts import HostClaim, Hosts, names_of_service
from agent.controller.labels import Labelled, Selecting, Subject
from agent.controller.touched import NOTHING, Holder, Key, Touched

SERVICE_ENTRY = "ServiceEntry"
WORKLOAD_ENTRY = "WorkloadEntry"
ENDPOINTS = "Endpoints"  # of a Service, as its slices say


class Registry:
    """Owned by the task that reads the watch; everyone else only looks.

    pods: all of them, by their labels. root: the namespace that may speak for all. has: whether a namespace is in
    the mesh; what others say has no effect, and takes nothing from anybody.
    """

    def __init__(self, pods: Labelled, root: Callable[[], str], has: Callable[[str], bool]) -> None:
        self.services: dict[Key, ServiceEntry] = {}
        self.workloads: dict[Key, WorkloadEntry] = {}
        self.claims = Claims()
        self.hosts = Hosts()
        self._statuses: dict[Holder, object] = {}
        self._pods = pods
        self._root = root
        self._has = has
        self._selecting = Selecting()
        self._labelled = Labelled()

    def put_service(self, new: ServiceEntry) -> Touched:
        holder, old = terms.holder_of(new), self.services.get(_key(new))
        self.services[holder.key] = new
        if old is not None and _said(old) == _said(new):
            return NOTHING
        before = self._reach(old) if old is not None else NOTHING
        selector = new.spec.workload_selector
        self._selecting.put(holder.key, selector.labels if selector is not None else {})
        return before | self._claim_for(new)

    def remove_service(self, key: Key) -> Touched:
        old = self.services.get(key)
        if old is None:
            return NOTHING
        before = self._reach(old)
        del self.services[key]
        self._selecting.remove(key)
        holder = terms.holder_of(old)
        return before | Touched(entries=self.hosts.put(holder, ())) | self.claim(holder, ())

    def put_workload(self, new: WorkloadEntry) -> Touched:
        holder, old = terms.holder_of(new), self.workloads.get(_key(new))
        self.workloads[holder.key] = new
        if old is not None and _said(old) == _said(new):
            return NOTHING
        self._labelled.put(holder.key, terms.labels_of(new))
        return self._claim_for(new)

    def remove_workload(self, key: Key) -> Touched:
        old = self.workloads.pop(key, None)
        if old is None:
            return NOTHING
        self._labelled.remove(key)
        return Touched(entries=frozenset({terms.holder_of(old)})) | self.claim(terms.holder_of(old), ())

    def note(self, holder: Holder, status: object) -> None:
        """What an entry's status says, as it is stored; None when the entry is gone."""
        self._statuses.pop(holder, None)
        if status is not None:
            self._statuses[holder] = status

    def stated(self, holder: Holder) -> object:
        """What was noted last."""
        return self._statuses.get(holder)

    def find(self, holder: Holder) -> ServiceEntry | WorkloadEntry | None:
        kept: Mapping[Key, ServiceEntry | WorkloadEntry]
        kept = self.services if holder.kind == SERVICE_ENTRY else self.workloads
        return kept.get(holder.key)

    def holders(self) -> list[Holder]:
        """All entries."""
        services = (Holder(SERVICE_ENTRY, *key) for key in self.services)
        return [*services, *(Holder(WORKLOAD_ENTRY, *key) for key in self.workloads)]

    def of_namespaces(self, namespaces: Collection[str]) -> Touched:
        """All that is in these namespaces, which have joined the mesh or left it, or of which one is the root now."""
        found = NOTHING
        for kept in (self.services, self.workloads):
            for key in [key for key in kept if key[0] in namespaces]:
                entry = kept[key]
                found |= (self._reach(entry) if isinstance(entry, ServiceEntry) else NOTHING) | self._claim_for(entry)
        return found

    def _claim_for(self, entry: ServiceEntry | WorkloadEntry) -> Touched:
        holder, is_in = terms.holder_of(entry), self._has(entry.metadata.namespace)
        if isinstance(entry, WorkloadEntry):
            claimed = self.claim(holder, terms.workload_claims(entry) if is_in else ())
            return Touched(entries=frozenset({holder})) | claimed
        root = self._root()
        canonical = Touched(entries=self.hosts.put(holder, terms.host_claims(entry, root) if is_in else ()))
        claimed = self.claim(holder, terms.address_claims(entry, root) if is_in else ())
        return canonical | claimed | self._reach(entry)

    def pods_around(self, holder: Holder) -> Touched:
        """The pods at addresses that an object names."""
        return Touched(pods=frozenset(pod.key for pod in self.claims.pods_at(holder)))

    def claim(self, holder: Holder, wanted: Iterable[tuple[str, Claim]]) -> Touched:
        """An object has these addresses, and no others; whom of the others that is news to."""
        return _holders(self.claims.put(holder, wanted))

    def put_names(self, service: Key, *, exists: bool) -> Touched:
        """A Service has its names, or has them no more."""
        holder = Holder("Service", *service)
        before = self.hosts.rivals(holder)
        names = names_of_service(*service) if exists else ()
        canonical = self.hosts.put(holder, ((name, HostClaim(holder)) for name in names))
        return self._with_their_own(before | self.hosts.rivals(holder) | canonical)

    def in_namespace(self, namespace: str) -> Touched:
        """All ServiceEntries of a namespace."""
        return Touched(entries=frozenset(Holder(SERVICE_ENTRY, *key) for key in self.services if key[0] == namespace))

    def subjects(self, namespace: str | None) -> Iterator[tuple[Holder, Subject]]:
        """What policies can select, in a namespace or in all: an endpoint has the labels of its ServiceEntry."""
        kept: tuple[Mapping[Key, ServiceEntry | WorkloadEntry], ...] = (self.services, self.workloads)
        for found in (entry for each in kept for entry in each.values()):
            if namespace in (None, found.metadata.namespace):
                yield terms.holder_of(found), terms.subject_of(found)

    def selected(self, namespace: str, selector: Mapping[str, str]) -> Touched:
        """The WorkloadEntries that a Service's or ServiceEntry's selector means."""
        keys = self._labelled.selected(namespace, selector)
        return Touched(entries=frozenset(Holder(WORKLOAD_ENTRY, *key) for key in keys))

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[ServiceEntry]:
        """The ServiceEntries that select what has these labels."""
        return [self.services[key] for key in self._selecting.of(namespace, labels)]

    def at_pod(self, namespace: str, addresses: Iterable[str]) -> list[ServiceEntry]:
        """The ServiceEntries of a pod's namespace that name one of its addresses as an endpoint's."""
        claims = (claim for address in addresses for claim in self.claims.at(address))
        roles = (Role.WORKLOAD, Role.ENDPOINT)
        keys = {each.holder.key for each in claims if each.holder.kind == SERVICE_ENTRY and each.role in roles}
        return [self.services[key] for key in sorted(keys) if key[0] == namespace]

    def _reach(self, entry: ServiceEntry) -> Touched:
        """What it may alter as it is now: itself, whoever in its namespace wants its hosts, and all their endpoints."""
        holder = terms.holder_of(entry)
        return self._with_their_own(self.hosts.rivals(holder) | {holder})

    def _with_their_own(self, holders: Iterable[Holder]) -> Touched:
        found = NOTHING
        for holder in holders:
            entry = self.services.get(holder.key)
            found |= Touched(entries=frozenset({holder}))
            if entry is None:
                continue
            if entry.spec.workload_selector is not None:
                selector = entry.spec.workload_selector.labels
                found |= Touched(pods=self._pods.selected(holder.namespace, selector))
                found |= self.selected(holder.namespace, selector)
            elif entry.spec.endpoints:
                found |= self.pods_around(holder)
        return found


def _holders(claims: Iterable[Claim]) -> Touched:
    """Those who have to look anew."""
    entries, endpoints = set(), set()
    for claim in claims:
        if claim.holder.kind in (SERVICE_ENTRY, WORKLOAD_ENTRY):
            entries.add(claim.holder)
        elif claim.holder.kind == ENDPOINTS:
            endpoints.add(claim.holder.key)
    return Touched(entries=frozenset(entries), endpoints=frozenset(endpoints))


def _said(entry: ServiceEntry | WorkloadEntry) -> tuple[object, ...]:
    """All that counts: what is different otherwise is what we say of it."""
    metadata = entry.metadata
    assigned = entry.status.addresses if isinstance(entry, ServiceEntry) else ()
    return entry.spec, entry.age, metadata.labels, metadata.annotations, metadata.generation, assigned


def _key(entry: ServiceEntry | WorkloadEntry) -> Key:
    return entry.metadata.namespace, entry.metadata.name
