"""Brings together what an entry says and what others have: the messages that follow, and the shortfalls."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.fields import check_name
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.workload_entry import WorkloadEntry, WorkloadTemplate
from agent.api.validation.formats import UNIX
from agent.controller.candidates import Candidate
from agent.controller.cluster import ClusterState
from agent.controller.entries import messages, terms
from agent.controller.entries.claims import Claim, Role, Standing, Verdict
from agent.controller.entries.hosts import is_of_another
from agent.controller.entries.outcome import Outcome, Shortfall, of_virtual_address, owner, told
from agent.controller.touched import Holder
from agent.controller.workloads import is_routed
from agent.controller.workloads import service_name as name_of_service
from agent.proto import workload_pb2 as pb

_NOWHERE = "no connection is led to it"


class Publication:
    """Only looks at the state."""

    def __init__(self, state: ClusterState, place: messages.Place) -> None:
        self._state = state
        self._place = place

    def of(self, holder: Holder) -> Outcome:
        """What becomes of an entry; nothing if it is gone."""
        match self._state.entries.find(holder):
            case ServiceEntry() as service:
                return self.of_service(service)
            case WorkloadEntry() as workload:
                return self.of_workload(workload)
        return Outcome()

    def of_service(self, entry: ServiceEntry) -> Outcome:
        """Everything that proxies are told of a ServiceEntry."""
        found = Outcome()
        if not self._state.has(entry.metadata.namespace):
            return found
        for unseen in terms.unseen(entry):
            found.lack(f"spec.exportTo: node proxies cannot be told of namespace {unseen} alone: it does not see it")
        if terms.export(entry) is terms.Export.NOBODY:
            return found
        won = list(self._won_hosts(entry, found))
        self._add_services(entry, won, found)
        if won:
            self._add_endpoints(entry, won, found)
            _add_limits(entry, found)
        return found

    def of_workload(self, entry: WorkloadEntry) -> Outcome:
        """What proxies are told of a WorkloadEntry."""
        found = Outcome()
        if not self._state.has(entry.metadata.namespace) or not _is_usable(entry.spec, "spec", found):
            return found
        verdict = self._at(terms.workload_claim(entry), entry.spec)
        if verdict.standing is Standing.LOST:
            text = f"spec.address: {entry.spec.address} is {owner(verdict, entry.metadata.namespace)}: {_NOWHERE}"
            found.lose(text)
            return found
        subject = terms.subject_of(entry)
        workload = messages.entry_workload(self._place, entry, self._state.listed_policies(subject))
        for service in filter(is_routed, self._state.services_selecting(subject)):
            ports = messages.ports_of_service(service, entry.spec.ports)
            workload.services[name_of_service(service)].CopyFrom(ports)
        for selecting in self._state.entries.selecting(subject.namespace, subject.labels):
            for host in self._won_hosts(selecting):
                ports = messages.ports_at(selecting, entry.spec.ports)
                workload.services[messages.service_name(selecting, host)].CopyFrom(ports)
        self._add_workload(workload, verdict, entry.spec, "spec", found)
        return found

    def joined(self, candidate: Candidate) -> Iterator[tuple[str, pb.PortList]]:
        """The services of ServiceEntries that have a pod for an endpoint, by its labels or by its address."""
        pod, entries = candidate.pod, self._state.entries
        for entry in entries.selecting(pod.namespace, pod.labels):
            for host in self._won_hosts(entry):
                yield messages.service_name(entry, host), messages.ports_of_pod(entry, candidate)
        own = () if pod.host_network else pod.addresses
        for entry in entries.at_pod(pod.namespace, own):
            at = next(each for each in entry.spec.endpoints if terms.place(each) in own)
            for host in self._won_hosts(entry):
                yield messages.service_name(entry, host), messages.ports_at(entry, at.ports)

    def _won_hosts(self, entry: ServiceEntry, found: Outcome | None = None) -> Iterator[str]:
        """Those that are the entry's; `found` takes what is to be said of the others."""
        metadata, holder = entry.metadata, terms.holder_of(entry)
        if terms.export(entry) is terms.Export.NOBODY or not self._state.has(metadata.namespace):
            return
        for host in terms.hosts(entry):
            taken = self._state.entries.hosts.taken_by(host, holder)
            is_foreign = is_of_another(host, metadata.namespace)
            if taken is None and not is_foreign:
                yield host
            elif found is not None and is_foreign:
                found.lose(f"spec.hosts: {host} is a name of Services of another namespace: {_NOWHERE}")
            elif found is not None and taken is not None:
                found.lose(f"spec.hosts: {host} is {told(taken.holder, metadata.namespace)}'s: {_NOWHERE}")

    def _add_services(self, entry: ServiceEntry, won: list[str], found: Outcome) -> None:
        own = list(self._own_networks(entry, found))
        assigned = terms.assigned(entry)
        holder, namespace = terms.holder_of(entry), entry.metadata.namespace
        root = self._state.mesh.root_namespace
        for host in won:
            kept = own + [each for address in assigned.get(host, ()) for each in self._assigned(entry, address, found)]
            is_private = terms.is_private(entry, host, root) or any(is_home for _, is_home in kept)
            name = messages.service_name(entry, host)
            found.services[name] = messages.service(
                entry,
                host,
                [network for network, _ in kept],
                is_private=is_private,
                is_canonical=not is_private and self._state.entries.hosts.is_canonical(host, holder),
                annotations=self._state.annotations.get(namespace, {}),
            )
            single = (network for network, _ in kept if network.num_addresses == 1)
            found.aliases[name] = [f"/{network.network_address}" for network in single]

    def _own_networks(self, entry: ServiceEntry, found: Outcome) -> Iterator[tuple[terms.Network, bool]]:
        """The addresses that it keeps of those that it was written with, and whether each is for clients at home."""
        for network in terms.networks(entry):
            if network.num_addresses > 1:
                yield network, False
                continue
            address = str(network.network_address)
            verdict = self._virtual(entry, address)
            if (
                shortfall := of_virtual_address("spec.addresses", address, verdict, entry.metadata.namespace)
            ) is not None:
                found.shortfalls.append(shortfall)
            if verdict.standing is not Standing.LOST:
                yield network, verdict.standing is Standing.AT_HOME

    def _assigned(self, entry: ServiceEntry, address: str, found: Outcome) -> Iterator[tuple[terms.Network, bool]]:
        """An address that it was given, unless an older one was given it too: then it gets another."""
        verdict = self._virtual(entry, address)
        if verdict.standing in (Standing.OWN, Standing.SHARED):
            yield terms.network_of(address), False
        else:
            text = (
                f"status.addresses: {address} is {owner(verdict, entry.metadata.namespace)}, and has to be given anew"
            )
            found.shortfalls.append(Shortfall(text, is_conflict=True))

    def _virtual(self, entry: ServiceEntry, address: str) -> Verdict:
        holder, index = terms.holder_of(entry), self._state.entries.claims
        mine = (claim for claim in index.at(address) if claim.holder == holder and claim.role is Role.VIRTUAL)
        return index.judge(address, next(mine))

    def _at(self, claim: Claim, at: WorkloadTemplate) -> Verdict:
        address = terms.place(at)
        if address is None:  # nobody is led to it by an address
            return Verdict(Standing.OWN)
        return self._state.entries.claims.judge(address, claim)

    def _add_endpoints(self, entry: ServiceEntry, won: list[str], found: Outcome) -> None:
        policies = self._state.listed_policies(terms.subject_of(entry))
        services = [messages.service_name(entry, host) for host in won]
        claim = terms.endpoint_claim(entry)
        for number, at in enumerate(entry.spec.endpoints):
            field = f"spec.endpoints[{number}]"
            if not _is_usable(at, field, found):
                continue
            verdict = self._at(claim, at)
            if verdict.standing is Standing.POD:
                continue
            if verdict.standing is Standing.LOST:
                found.lose(f"{field}.address: {at.address} is {owner(verdict, entry.metadata.namespace)}: {_NOWHERE}")
                continue
            workload = messages.endpoint(self._place, entry, at, services, policies)
            if workload.uid in found.workloads:
                found.lack(f"{field}.address: {at.address} is another endpoint's, of which there can be one")
                continue
            self._add_workload(workload, verdict, at, field, found)
        if entry.spec.resolution in terms.BY_NAME and not entry.spec.endpoints and entry.spec.workload_selector is None:
            for host, service in zip(won, services, strict=True):
                named = WorkloadTemplate(address=host)
                workload = messages.endpoint(self._place, entry, named, [service], policies)
                self._add_workload(workload, Verdict(Standing.OWN), named, "spec.hosts", found)

    def _add_workload(
        self, workload: pb.Workload, verdict: Verdict, at: WorkloadTemplate, field: str, found: Outcome
    ) -> None:
        found.workloads[workload.uid] = workload
        if verdict.standing is Standing.SHARED:
            workload.network_mode = pb.NetworkMode.HOST_NETWORK
            if verdict.to is not None:
                text = f"{field}.address: {at.address} is {owner(verdict, workload.namespace)} too: connections to the "
                found.lose(f"{text}address itself are not led to it, those to its services are")
        elif (address := terms.place(at)) is not None:
            found.aliases[workload.uid] = [f"/{address}"]
        if workload.hostname:
            found.lack(f"{field}: node proxies look up no names, so no connection is led to {workload.hostname}")
        if workload.network:
            found.lack(f"{field}.network: node proxies reach no other network, so {_NOWHERE}")


def _is_usable(at: WorkloadTemplate, field: str, found: Outcome) -> bool:
    if at.address.startswith(UNIX):
        found.lack(f"{field}.address: node proxies reach no sockets of {UNIX}: {_NOWHERE}")
        return False
    if "%" in at.address:
        found.lack(f"{field}.address: {at.address} is known on one machine only: {_NOWHERE}")
        return False
    try:
        check_name(at.service_account or "default")
    except ValueError as exc:
        found.lack(f"{field}.serviceAccount: read {at.service_account!r}; {exc}: {_NOWHERE}")
        return False
    return True


def _add_limits(entry: ServiceEntry, found: Outcome) -> None:
    """What node proxies cannot do with the entry as a whole."""
    spec = entry.spec
    if spec.resolution == "NONE" and not spec.addresses:
        found.lack("spec.addresses: missing, and node proxies tell no hosts apart: it changes nothing")
    elif not spec.addresses and any(terms.assigned(entry).values()):
        found.lack(
            "spec.addresses: missing, and node proxies answer no DNS: only clients that something else tells of "
            "status.addresses reach it"
        )
    elif not spec.addresses:
        found.lack("spec.addresses: missing, and none are given: no connection is led to it")
