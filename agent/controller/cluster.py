"""The state of the cluster, as the watch has told it so far.

Each object is kept in the slim form that the rules need. When a new version of an object
cannot be understood, its last good state stays and the problem is on record until a good
version comes or the object goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from agent import kube, model
from agent.api import cluster_network, kubernetes, security
from agent.api.faults import in_words
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.workload_entry import WorkloadEntry
from agent.api.validation import validate
from agent.controller import peers, policies
from agent.controller.candidates import Candidate as Candidate
from agent.controller.candidates import Locality as Locality
from agent.controller.candidates import addresses_of_node, candidate_of, claims_of_service, locality_of
from agent.controller.entries import registry
from agent.controller.entries.claims import Claim, Role
from agent.controller.labels import Labelled, Selecting, Subject
from agent.controller.membership import Membership
from agent.controller.mesh import Mesh
from agent.controller.slices import Concerned, Slices, concerned, plain_addresses
from agent.controller.stand_ins import stand_in
from agent.controller.touched import NOTHING, Holder
from agent.controller.touched import Key as Key
from agent.controller.touched import Touched as Touched
from agent.errors import InvalidObjectError

logger = logging.getLogger(__name__)

WATCHED: Final = (
    kube.NAMESPACE,
    kube.NODE,
    kube.AUTHORIZATION_POLICY,
    kube.PEER_AUTHENTICATION,
    kube.SERVICE,
    kube.POD,
    kube.SERVICE_ENTRY,
    kube.WORKLOAD_ENTRY,
    kube.SYSTEM_CONFIG_MAP,
)

ON_KUBERNETES: Final = (kube.ENDPOINT_SLICE,)  # what a cluster has besides: nobody makes them in a state directory
T = TypeVar("T")
IndexT = TypeVar("IndexT")


@dataclass(frozen=True, slots=True)
class Refused:
    """An object as it is in the cluster, and what is wrong with it."""

    object: kube.Object
    reason: str


class ClusterState:
    """Owned by the task that reads the watch; everyone else only looks."""

    def __init__(self, origin: Path | str | None, mesh: Mesh = Mesh()) -> None:  # noqa: B008  # frozen
        """origin: the state directory that the objects come from, None for an API server; messages say it.

        mesh: what holds until the mesh's ConfigMap says something else.
        """
        self._origin = origin
        self.mesh = mesh
        self._membership = Membership(self._redirected_in)
        self._membership.select(mesh.config.discovery_selectors, ())
        self.is_synced = False
        self.candidates: dict[Key, Candidate] = {}
        self.services: dict[Key, kubernetes.Service] = {}
        self.localities: dict[str, Locality] = {}
        self.annotations: dict[str, Mapping[str, str]] = {}  # of namespaces
        self.policies: dict[Key, security.AuthorizationPolicy] = {}
        self.peers: dict[Key, security.PeerAuthentication] = {}
        self.problems: dict[str, str] = {}  # where the object is: what is wrong with it
        self.refused: dict[tuple[str, str, str], Refused] = {}  # policies, by kind, namespace and name
        self._stand_ins: set[tuple[str, str, str]] = set()  # of them, those without a good version
        self.slices = Slices()
        self._labelled_pods = Labelled()
        self._selecting_services = Selecting()
        self.entries = registry.Registry(self._labelled_pods, lambda: self.mesh.root_namespace, self.has)
        self._services_in: dict[str, dict[Key, kubernetes.Service]] = {}
        self._pods_in: dict[str, dict[Key, Candidate]] = {}
        self._pods_on: dict[str, dict[Key, Candidate]] = {}
        self._policies_in: dict[str, dict[Key, security.AuthorizationPolicy]] = {}
        self._peers_in: dict[str, dict[Key, security.PeerAuthentication]] = {}

    def apply(self, change: kube.Change) -> Touched:
        """Take in one event of the watch; what has to be computed anew."""
        if change.kind is None or change.object is None:
            self.is_synced = True
            return NOTHING
        namespace, name = _key(change.kind, change.object)
        where = self._where(change.kind, namespace, name)
        if change.kind == kube.SYSTEM_CONFIG_MAP:
            return self._configure(where, change) if name == self.mesh.config_map else NOTHING
        key = (change.kind.name, namespace, name)
        is_ours = not self.mesh.is_for_another(change.kind, change.object)
        if change.type is kube.ChangeType.DELETED or not is_ours:
            self.problems.pop(where, None)
            self.refused.pop(key, None)
            self._stand_ins.discard(key)
            self.entries.note(Holder(*key), None)
            return self._forget(change.kind, (namespace, name))
        try:
            resource = _read(change.kind, change.object, where)
        except InvalidObjectError as exc:
            self._report(where, str(exc))
            return self._refuse(change.kind, key, Refused(change.object, in_words(exc.faults)))
        self.problems.pop(where, None)
        self.refused.pop(key, None)
        self._stand_ins.discard(key)
        if change.kind in (kube.SERVICE_ENTRY, kube.WORKLOAD_ENTRY):
            self.entries.note(Holder(*key), change.object.get("status"))
        return self.take(resource)

    def take(self, resource: kubernetes.Resource) -> Touched:
        """Take in a valid object; what has to be computed anew. One of another kind than WATCHED touches nothing."""
        match resource:
            case kubernetes.Namespace():
                metadata = resource.metadata
                joined = self._whole(self._membership.label(metadata.name, metadata.labels))
                return joined | self._annotate(metadata.name, metadata.annotations)
            case kubernetes.Pod() | kubernetes.StatedPod():
                return self._put_pod(candidate_of(resource))
            case cluster_network.EndpointSlice():
                return self._changed_slices(self.slices.put(resource))
            case kubernetes.Service():
                return self._put_service(resource)
            case kubernetes.Node():
                name = resource.metadata.name
                return self._put_node(name, locality_of(resource.metadata.labels), addresses_of_node(resource))
            case ServiceEntry():
                return self.entries.put_service(resource)
            case WorkloadEntry():
                return self.entries.put_workload(resource)
            case security.AuthorizationPolicy():
                return self._put_policy(resource)
            case security.PeerAuthentication():
                return self._put_peer(resource)
        return NOTHING

    def _refuse(self, kind: kube.Kind, key: tuple[str, str, str], refused: Refused) -> Touched:
        """The last good version stays; a policy that never had one is stood in for, so that nothing is left open."""
        if kind not in (kube.AUTHORIZATION_POLICY, kube.PEER_AUTHENTICATION):
            return NOTHING
        self.refused[key] = refused
        known = key[1:] in (self.policies if kind == kube.AUTHORIZATION_POLICY else self.peers)
        touched = NOTHING
        if not known or key in self._stand_ins:
            instead = stand_in(kind, refused.object)
            touched = self.take(instead) if instead is not None else self._forget(kind, key[1:])
            self._stand_ins.add(key)
        if kind == kube.AUTHORIZATION_POLICY:  # whose status says why
            return replace(touched, policies=touched.policies | {key[1:]})
        return touched

    def has_good_version(self, kind: kube.Kind, key: Key) -> bool:
        """Whether a refused object has a version in force that was valid."""
        return (kind.name, *key) not in self._stand_ins

    def has(self, namespace: str) -> bool:
        """Whether proxies are told of what is in the namespace; of the root's policies they are told in any case."""
        return self._membership.has(namespace)

    def has_policies_of(self, namespace: str) -> bool:
        """Whether proxies are told of the namespace's policies."""
        return namespace == self.mesh.root_namespace or self.has(namespace)

    def _configure(self, where: str, change: kube.Change) -> Touched:
        old = self.mesh
        try:
            self.mesh = old.configured(change.object if change.type is not kube.ChangeType.DELETED else None)
        except InvalidObjectError as exc:
            self._report(where, str(exc))
            return NOTHING
        self.problems.pop(where, None)
        for problem in self.mesh.problems:
            logger.error("not all of the mesh's settings are in force", extra={"reason": problem})
        kept = (
            self.candidates,
            self.services,
            self.policies,
            self.peers,
            self.entries.services,
            self.entries.workloads,
        )
        every = {key[0] for index in kept for key in index}
        touched = self._membership.select(self.mesh.config.discovery_selectors, every)
        return self._whole(every if self.mesh.root_namespace != old.root_namespace else touched)

    def _whole(self, namespaces: Iterable[str]) -> Touched:
        """All that is in these namespaces."""
        each = list(namespaces)
        services = frozenset(key for namespace in each for key in self.services_in(namespace))
        return Touched(
            services=services,
            pods=frozenset(key for namespace in each for key in self.pods_in(namespace)),
            policies=frozenset(key for namespace in each for key in self._policies_in.get(namespace, {})),
            peers=frozenset(key for namespace in each for key in self._peers_in.get(namespace, {})),
            endpoints=services,
        ) | self.entries.of_namespaces(each)

    def _redirected_in(self, namespace: str) -> list[Key]:
        return [key for key, found in self.pods_in(namespace).items() if found.pod.is_redirected]

    def _where(self, kind: kube.Kind, namespace: str, name: str) -> str:
        if self._origin is None:
            return f"{kind.plural}/{name}" if not namespace else f"{kind.plural}/{namespace}/{name}"
        return f"{self._origin}/{kind.plural}/{namespace}_{name}.json"

    def has_pod_at(self, address: str) -> bool:
        """Whether a pod of the mesh's namespaces has the address for itself."""
        at = self.entries.claims.at(address)
        return any(claim.role is Role.POD and self.has(claim.holder.namespace) for claim in at)

    def services_in(self, namespace: str) -> Mapping[Key, kubernetes.Service]:
        return self._services_in.get(namespace, {})

    def pods_in(self, namespace: str) -> Mapping[Key, Candidate]:
        return self._pods_in.get(namespace, {})

    def live_pods_on(self, node: str) -> Iterator[model.Pod]:
        """The node's pods that have not ended; terminating ones still need their certificate."""
        return (found.pod for found in self._pods_on.get(node, {}).values() if not found.pod.is_finished)

    def services_selecting(self, subject: Subject) -> list[kubernetes.Service]:
        """The services that have a pod, or another workload, for an endpoint by its labels."""
        return [self.services[key] for key in self._selecting_services.of(subject.namespace, subject.labels)]

    def listed_policies(self, pod: Subject) -> list[str]:
        """Names of the policies that a workload lists: all that are sent, govern it and say so by name."""
        here = self._reaching(self._policies_in, pod.namespace)
        names = [policy.full_name for policy in here if policies.is_sent(policy) and self._lists(policy, pod)]
        own = peers.governing(pod, self._reaching(self._peers_in, pod.namespace))
        converted = peers.listed(own, self.is_strict_by_default(pod.namespace))
        return sorted(names) + ([converted] if converted else [])

    def policies_on(self, pod: model.Pod) -> list[security.AuthorizationPolicy]:
        """The policies in whose scope the pod is, also those of which node proxies are told nothing."""
        here = self._reaching(self._policies_in, pod.namespace)
        return [policy for policy in here if not policies.is_listed(policy) or self._lists(policy, pod)]

    def peers_around(self, namespace: str) -> list[security.PeerAuthentication]:
        """The PeerAuthentications of the namespace and of the mesh."""
        return self._reaching(self._peers_in, namespace)

    def is_strict_by_default(self, namespace: str) -> bool:
        """Whether workloads of the namespace must be called with an identity, unless one has its own say."""
        return peers.is_strict_by_default(self._reaching(self._peers_in, namespace), self.mesh.root_namespace)

    def _report(self, where: str, problem: str) -> None:
        if self.problems.get(where) != problem:
            logger.error("object is invalid, its last good state stays", extra={"reason": problem})
        self.problems[where] = problem

    def _forget(self, kind: kube.Kind, key: Key) -> Touched:
        match kind:
            case kube.POD:
                return self._remove_pod(key) | self._whole(self._membership.withdrawn(key))
            case kube.NAMESPACE:
                return self._whole(self._membership.label(key[1], None)) | self._annotate(key[1], {})
            case kube.SERVICE:
                return self._remove_service(key)
            case kube.ENDPOINT_SLICE:
                return self._changed_slices(self.slices.remove(key))
            case kube.NODE:
                return self._put_node(key[1], Locality(), ())
            case kube.SERVICE_ENTRY:
                return self.entries.remove_service(key)
            case kube.WORKLOAD_ENTRY:
                return self.entries.remove_workload(key)
            case kube.AUTHORIZATION_POLICY:
                return self._remove_policy(key)
            case kube.PEER_AUTHENTICATION:
                return self._remove_peer(key)
        return NOTHING

    def _put_pod(self, new: Candidate) -> Touched:
        key = (new.pod.namespace, new.pod.name)
        if self.candidates.get(key) == new:
            return NOTHING
        self._drop_pod(key)
        self.candidates[key] = new
        self._pods_in.setdefault(key[0], {})[key] = new
        self._pods_on.setdefault(new.pod.node, {})[key] = new
        self._labelled_pods.put(key, new.pod.labels)
        touched = Touched(pods=frozenset({key})) | self._claim_of_pod(new.pod)
        return touched if new.pod.is_redirected else touched | self._whole(self._membership.withdrawn(key))

    def _remove_pod(self, key: Key) -> Touched:
        if not self._drop_pod(key):
            return NOTHING
        self._labelled_pods.remove(key)
        return Touched(pods=frozenset({key})) | self.entries.claim(Holder("Pod", *key), ())

    def _drop_pod(self, key: Key) -> bool:
        old = self.candidates.pop(key, None)
        if old is None:
            return False
        _discard(self._pods_in, key[0], key)
        _discard(self._pods_on, old.pod.node, key)
        return True

    def _claim_of_pod(self, pod: model.Pod) -> Touched:
        """One that has finished gave its addresses back."""
        claim = Claim(Holder("Pod", pod.namespace, pod.name), Role.HOST if pod.host_network else Role.POD)
        addresses = () if pod.is_finished else pod.addresses
        return self.entries.claim(claim.holder, ((address, claim) for address in addresses))

    def _put_service(self, new: kubernetes.Service) -> Touched:
        key = (new.metadata.namespace, new.metadata.name)
        before = self._remove_service(key)
        self.services[key] = new
        self._services_in.setdefault(key[0], {})[key] = new
        self._selecting_services.put(key, new.spec.selector)
        claimed = self.entries.claim(Holder("Service", *key), claims_of_service(new))
        names = self.entries.put_names(key, exists=new.spec.type != "ExternalName")
        return before | self._affected_by(key, new) | claimed | names

    def _remove_service(self, key: Key) -> Touched:
        old = self.services.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._services_in, key[0], key)
        self._selecting_services.remove(key)
        affected = self._affected_by(key, old)
        return affected | self.entries.claim(Holder("Service", *key), ()) | self.entries.put_names(key, exists=False)

    def _affected_by(self, key: Key, service: kubernetes.Service) -> Touched:
        """The service, and all that are or were its endpoints."""
        pods = self._labelled_pods.selected(key[0], service.spec.selector)
        entries = self.entries.selected(key[0], service.spec.selector)
        return Touched(frozenset({key}), pods) | entries | self._changed_slices(concerned(self.slices.of(key)))

    def _changed_slices(self, found: Concerned) -> Touched:
        """Something about slices has changed; also for pods to whose addresses they point."""
        touched = Touched(pods=found.pods, endpoints=found.services)
        for service in found.services:
            claim = Claim(Holder(registry.ENDPOINTS, *service), Role.ENDPOINT)
            addresses = plain_addresses(self.slices.of(service))
            touched |= self.entries.pods_around(claim.holder)
            self.entries.claim(claim.holder, ((address, claim) for address in addresses))
            touched |= self.entries.pods_around(claim.holder)
        return touched

    def _put_node(self, node: str, new: Locality, addresses: Iterable[str]) -> Touched:
        claim = Claim(Holder("Node", "", node), Role.HOST)
        claimed = self.entries.claim(claim.holder, ((address, claim) for address in addresses))
        if self.localities.get(node, Locality()) == new:
            return claimed
        self.localities[node] = new
        return Touched(pods=frozenset(self._pods_on.get(node, {}))) | claimed

    def _annotate(self, namespace: str, new: Mapping[str, str]) -> Touched:
        """What a namespace says for all of its services."""
        if self.annotations.get(namespace, {}) == new:
            return NOTHING
        self.annotations[namespace] = new
        return Touched(services=frozenset(self.services_in(namespace))) | self.entries.in_namespace(namespace)

    def _put_policy(self, new: security.AuthorizationPolicy) -> Touched:
        key = (new.metadata.namespace, new.metadata.name)
        old = self.policies.get(key)
        before = self._remove_policy(key)
        self.policies[key] = new
        self._policies_in.setdefault(key[0], {})[key] = new
        if old is not None and _says_the_same(old, new):
            return NOTHING
        return before | Touched(policies=frozenset({key})) | self._listing(new)

    def _remove_policy(self, key: Key) -> Touched:
        old = self.policies.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._policies_in, key[0], key)
        return Touched(policies=frozenset({key})) | self._listing(old)

    def _listing(self, policy: security.AuthorizationPolicy) -> Touched:
        """The workloads that list it."""
        place = None if policy.is_of_mesh(self.mesh.root_namespace) else policy.metadata.namespace
        return self._those(place, lambda subject: self._lists(policy, subject))

    def _those(self, namespace: str | None, is_meant: Callable[[Subject], bool]) -> Touched:
        """The workloads of a namespace, None: of all, of which something is true."""
        pods = self.candidates if namespace is None else self.pods_in(namespace)
        entries = self.entries.subjects(namespace)
        return Touched(
            pods=frozenset(key for key, found in pods.items() if is_meant(found.pod)),
            entries=frozenset(holder for holder, subject in entries if is_meant(subject)),
        )

    def _lists(self, policy: security.AuthorizationPolicy, pod: Subject) -> bool:
        if not policies.is_listed(policy):
            return False
        namespace = policy.metadata.namespace
        if policy.spec.targets:
            services = (self.services.get((namespace, name)) for name in policies.target_services(policy))
            return any(service is not None and selects(service, pod) for service in services)
        is_of_mesh = policy.is_of_mesh(self.mesh.root_namespace)
        return policies.selects(policy.spec.selector, namespace, is_of_mesh, pod)

    def _put_peer(self, new: security.PeerAuthentication) -> Touched:
        key = (new.metadata.namespace, new.metadata.name)
        old = self.peers.get(key)
        if old is not None and _says_the_same(old, new):
            return NOTHING
        before = self._remove_peer(key)
        self.peers[key] = new
        self._peers_in.setdefault(key[0], {})[key] = new
        return before | self._governed(new)

    def _remove_peer(self, key: Key) -> Touched:
        old = self.peers.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._peers_in, key[0], key)
        return self._governed(old)

    def _governed(self, peer: security.PeerAuthentication) -> Touched:
        """The workloads in its scope, itself, and those that inherit from it."""
        key = (peer.metadata.namespace, peer.metadata.name)
        root = self.mesh.root_namespace
        heirs = self.peers if peer.is_of_mesh(root) else self._peers_in.get(key[0], {})
        place = None if peer.is_of_mesh(root) else key[0]
        governed = self._those(place, lambda subject: peers.governs(peer, subject, root))
        return governed | Touched(peers=frozenset({key, *heirs} if peers.is_wide(peer) else {key}))

    def _reaching(self, index: Mapping[str, Mapping[Key, T]], namespace: str) -> list[T]:
        """What is in the namespace, and what the root namespace has for all."""
        return [found for place in {namespace, self.mesh.root_namespace} for found in index.get(place, {}).values()]


def _says_the_same(
    old: security.AuthorizationPolicy | security.PeerAuthentication,
    new: security.AuthorizationPolicy | security.PeerAuthentication,
) -> bool:
    """Whether only what others write differs, such as the status."""
    return _said(old) == _said(new)


def _said(policy: security.AuthorizationPolicy | security.PeerAuthentication) -> tuple[object, ...]:
    return policy.spec, policy.age, policy.metadata.annotations, policy.metadata.generation


def selects(service: kubernetes.Service, pod: Subject) -> bool:
    """Whether the workload is one of the service's endpoints; without a selector, a service has none of its own."""
    selector = service.spec.selector
    return bool(selector) and service.metadata.namespace == pod.namespace and selector.items() <= pod.labels.items()


def _key(kind: kube.Kind, object: kube.Object) -> Key:
    metadata = object["metadata"]
    return str(metadata.get("namespace") or "default") if kind.is_namespaced else "", str(metadata["name"])


def _read(kind: kube.Kind, object: kube.Object, where: str) -> kubernetes.Resource:
    """The object's typed form; InvalidObjectError says what is wrong with it."""
    if kind is kube.POD:
        return kubernetes.stated_pod(object, where)
    answer = validate(object, where)
    if answer.resource is None:
        namespace, name = _key(kind, object)
        label = f"{kind.name} {f'{namespace}/{name}'.removeprefix('/')}"
        raise InvalidObjectError(f"{where}: {label}: {in_words(answer.errors)}", answer.errors)
    return answer.resource


def _discard(index: dict[IndexT, dict[Key, T]], at: IndexT, key: Key) -> None:
    inner = index.get(at, {})
    inner.pop(key, None)
    if not inner:
        index.pop(at, None)
