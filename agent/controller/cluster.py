"""The state of the cluster, as the watch has told it so far.

Each object is kept in the slim form that the rules need. When a new version of an object
cannot be understood, its last good state stays and the problem is on record until a good
version comes or the object goes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from agent import kube, model, wire
from agent.api import cluster_network, kubernetes, security
from agent.api.faults import in_words
from agent.api.validation import validate
from agent.controller import peers, policies
from agent.controller.slices import Concerned, Slices, concerned
from agent.controller.slices import Key as Key
from agent.controller.stand_ins import stand_in
from agent.errors import InvalidObjectError

logger = logging.getLogger(__name__)

WATCHED: Final = (
    kube.NAMESPACE,
    kube.NODE,
    kube.AUTHORIZATION_POLICY,
    kube.PEER_AUTHENTICATION,
    kube.SERVICE,
    kube.POD,
)

ON_KUBERNETES: Final = (kube.ENDPOINT_SLICE,)  # what a cluster has besides: nobody makes them in a state directory
T = TypeVar("T")
IndexT = TypeVar("IndexT")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod and what an endpoint needs besides: numbers of its named TCP ports."""

    pod: model.Pod
    named_ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a node stands, from its labels."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class Touched:
    """What one change may alter: these services, pods, AuthorizationPolicies and PeerAuthentications.

    endpoints: services whose endpoints EndpointSlices name.
    """

    services: frozenset[Key] = frozenset()
    pods: frozenset[Key] = frozenset()
    policies: frozenset[Key] = frozenset()
    peers: frozenset[Key] = frozenset()
    endpoints: frozenset[Key] = frozenset()


NOTHING: Final = Touched()


@dataclass(frozen=True, slots=True)
class Refused:
    """An object as it is in the cluster, and what is wrong with it."""

    object: kube.Object
    reason: str


class ClusterState:
    """Owned by the task that reads the watch; everyone else only looks."""

    def __init__(self, origin: Path | str | None) -> None:
        """origin: the state directory that the objects come from, None for an API server; messages say it."""
        self._origin = origin
        self.is_synced = False
        self.candidates: dict[Key, Candidate] = {}
        self.services: dict[Key, kubernetes.Service] = {}
        self.localities: dict[str, Locality] = {}
        self.policies: dict[Key, security.AuthorizationPolicy] = {}
        self.peers: dict[Key, security.PeerAuthentication] = {}
        self.problems: dict[str, str] = {}  # where the object is: what is wrong with it
        self.refused: dict[tuple[str, str, str], Refused] = {}  # policies, by kind, namespace and name
        self._stand_ins: set[tuple[str, str, str]] = set()  # of them, those without a good version
        self.slices = Slices()
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
        key = (change.kind.name, namespace, name)
        if change.type is kube.ChangeType.DELETED:
            self.problems.pop(where, None)
            self.refused.pop(key, None)
            self._stand_ins.discard(key)
            return self._forget(change.kind, (namespace, name))
        try:
            resource = _read(change.kind, change.object, where)
        except InvalidObjectError as exc:
            self._report(where, str(exc))
            return self._refuse(change.kind, key, Refused(change.object, in_words(exc.faults)))
        self.problems.pop(where, None)
        self.refused.pop(key, None)
        self._stand_ins.discard(key)
        return self.take(resource)

    def take(self, resource: kubernetes.Resource) -> Touched:
        """Take in a valid object; what has to be computed anew. One of another kind than WATCHED touches nothing."""
        match resource:
            case kubernetes.Pod() | kubernetes.StatedPod():
                return self._put_pod(_candidate(resource))
            case cluster_network.EndpointSlice():
                return _of_slices(self.slices.put(resource))
            case kubernetes.Service():
                return self._put_service(resource)
            case kubernetes.Node():
                return self._put_locality(resource.metadata.name, _locality(resource.metadata.labels))
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

    def _where(self, kind: kube.Kind, namespace: str, name: str) -> str:
        if self._origin is None:
            return f"{kind.plural}/{name}" if not namespace else f"{kind.plural}/{namespace}/{name}"
        return f"{self._origin}/{kind.plural}/{namespace}_{name}.json"

    def services_in(self, namespace: str) -> Mapping[Key, kubernetes.Service]:
        return self._services_in.get(namespace, {})

    def pods_in(self, namespace: str) -> Mapping[Key, Candidate]:
        return self._pods_in.get(namespace, {})

    def live_pods_on(self, node: str) -> Iterator[model.Pod]:
        """The node's pods that have not ended; terminating ones still need their certificate."""
        return (found.pod for found in self._pods_on.get(node, {}).values() if not found.pod.is_finished)

    def listed_policies(self, pod: model.Pod) -> list[str]:
        """Names of the policies that the pod's workload lists: all that are sent, govern it and say so by name."""
        here = [*self._reaching(self._policies_in, pod.namespace)]
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
        return peers.is_strict_by_default(self._reaching(self._peers_in, namespace))

    def _report(self, where: str, problem: str) -> None:
        if self.problems.get(where) != problem:
            logger.error("object is invalid, its last good state stays", extra={"reason": problem})
        self.problems[where] = problem

    def _forget(self, kind: kube.Kind, key: Key) -> Touched:
        match kind:
            case kube.POD:
                return self._remove_pod(key)
            case kube.SERVICE:
                return self._remove_service(key)
            case kube.ENDPOINT_SLICE:
                return _of_slices(self.slices.remove(key))
            case kube.NODE:
                return self._put_locality(key[1], Locality())
            case kube.AUTHORIZATION_POLICY:
                return self._remove_policy(key)
            case kube.PEER_AUTHENTICATION:
                return self._remove_peer(key)
        return NOTHING

    def _put_pod(self, new: Candidate) -> Touched:
        key = (new.pod.namespace, new.pod.name)
        if self.candidates.get(key) == new:
            return NOTHING
        self._remove_pod(key)
        self.candidates[key] = new
        self._pods_in.setdefault(key[0], {})[key] = new
        self._pods_on.setdefault(new.pod.node, {})[key] = new
        return Touched(pods=frozenset({key}))

    def _remove_pod(self, key: Key) -> Touched:
        old = self.candidates.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._pods_in, key[0], key)
        _discard(self._pods_on, old.pod.node, key)
        return Touched(pods=frozenset({key}))

    def _put_service(self, new: kubernetes.Service) -> Touched:
        key = (new.metadata.namespace, new.metadata.name)
        before = self._remove_service(key)
        self.services[key] = new
        self._services_in.setdefault(key[0], {})[key] = new
        named = _of_slices(concerned(self.slices.of(key)))
        return Touched(frozenset({key}), before.pods | self._selected_by(new) | named.pods, endpoints=named.endpoints)

    def _remove_service(self, key: Key) -> Touched:
        old = self.services.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._services_in, key[0], key)
        named = _of_slices(concerned(self.slices.of(key)))
        return Touched(frozenset({key}), self._selected_by(old) | named.pods, endpoints=named.endpoints)

    def _selected_by(self, service: kubernetes.Service) -> frozenset[Key]:
        pods = self.pods_in(service.metadata.namespace)
        return frozenset(key for key, found in pods.items() if selects(service, found.pod))

    def _put_locality(self, node: str, new: Locality) -> Touched:
        if self.localities.get(node, Locality()) == new:
            return NOTHING
        self.localities[node] = new
        return Touched(pods=frozenset(self._pods_on.get(node, {})))

    def _put_policy(self, new: security.AuthorizationPolicy) -> Touched:
        key = (new.metadata.namespace, new.metadata.name)
        old = self.policies.get(key)
        before = self._remove_policy(key)
        self.policies[key] = new
        self._policies_in.setdefault(key[0], {})[key] = new
        if old is not None and _says_the_same(old, new):
            return NOTHING
        return Touched(policies=frozenset({key}), pods=before.pods | self._listing(new))

    def _remove_policy(self, key: Key) -> Touched:
        old = self.policies.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._policies_in, key[0], key)
        return Touched(policies=frozenset({key}), pods=self._listing(old))

    def _listing(self, policy: security.AuthorizationPolicy) -> frozenset[Key]:
        pods = self.candidates if policy.is_of_mesh else self.pods_in(policy.metadata.namespace)
        return frozenset(key for key, found in pods.items() if self._lists(policy, found.pod))

    def _lists(self, policy: security.AuthorizationPolicy, pod: model.Pod) -> bool:
        if not policies.is_listed(policy):
            return False
        namespace = policy.metadata.namespace
        if policy.spec.targets:
            services = (self.services.get((namespace, name)) for name in policies.target_services(policy))
            return any(service is not None and selects(service, pod) for service in services)
        return policies.selects(policy.spec.selector, namespace, policy.is_of_mesh, pod)

    def _put_peer(self, new: security.PeerAuthentication) -> Touched:
        key = (new.metadata.namespace, new.metadata.name)
        old = self.peers.get(key)
        if old is not None and _says_the_same(old, new):
            return NOTHING
        before = self._remove_peer(key)
        self.peers[key] = new
        self._peers_in.setdefault(key[0], {})[key] = new
        now = self._governed(new)
        return Touched(peers=before.peers | now.peers, pods=before.pods | now.pods)

    def _remove_peer(self, key: Key) -> Touched:
        old = self.peers.pop(key, None)
        if old is None:
            return NOTHING
        _discard(self._peers_in, key[0], key)
        return self._governed(old)

    def _governed(self, peer: security.PeerAuthentication) -> Touched:
        """The pods in its scope, itself, and those that inherit from it."""
        key = (peer.metadata.namespace, peer.metadata.name)
        pods = self.candidates if peer.is_of_mesh else self.pods_in(key[0])
        heirs = self.peers if peer.is_of_mesh else self._peers_in.get(key[0], {})
        return Touched(
            pods=frozenset(each for each, found in pods.items() if peers.governs(peer, found.pod)),
            peers=frozenset({key, *heirs} if peers.is_wide(peer) else {key}),
        )

    def _reaching(self, index: Mapping[str, Mapping[Key, T]], namespace: str) -> list[T]:
        """What is in the namespace, and what the root namespace has for all."""
        return [found for place in {namespace, wire.SYSTEM_NAMESPACE} for found in index.get(place, {}).values()]


def _says_the_same(
    old: security.AuthorizationPolicy | security.PeerAuthentication,
    new: security.AuthorizationPolicy | security.PeerAuthentication,
) -> bool:
    """Whether only what others write differs, such as the status."""
    return _said(old) == _said(new)


def _said(policy: security.AuthorizationPolicy | security.PeerAuthentication) -> tuple[object, ...]:
    return policy.spec, policy.age, policy.metadata.annotations, policy.metadata.generation


def selects(service: kubernetes.Service, pod: model.Pod) -> bool:
    """Whether the pod is one of the service's endpoints; without a selector, a service has none of its own."""
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


def _of_slices(found: Concerned) -> Touched:
    return Touched(pods=found.pods, endpoints=found.services)


def _candidate(pod: kubernetes.Pod | kubernetes.StatedPod) -> Candidate:
    ports = [port for container in pod.spec.containers for port in container.ports]
    named = {port.name: port.container_port for port in ports if port.name and port.protocol == "TCP"}
    return Candidate(kubernetes.to_pod(pod), named)


def _locality(labels: Mapping[str, str]) -> Locality:
    return Locality(
        region=labels.get("topology.kubernetes.io/region", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        subzone=labels.get("topology.istio.io/subzone", ""),
    )


def _discard(index: dict[IndexT, dict[Key, T]], at: IndexT, key: Key) -> None:
    inner = index.get(at, {})
    inner.pop(key, None)
    if not inner:
        index.pop(at, None)
