"""What applies to one pod or Service, put together from the objects of a mesh. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from agent import wire
from agent.analysis import hosts, workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.mesh import settings
from agent.analysis.run import Material, analyze
from agent.analysis.workloads import Workload
from agent.api import kubernetes
from agent.api.mesh_config.mesh import MeshConfig
from agent.cli import protection, routing
from agent.cli.places import PodName
from agent.cli.protection import Callers, Enrolment, Policy
from agent.cli.routing import Route, Waypoint
from agent.controller.cluster import ClusterState
from agent.controller.mesh import Mesh
from agent.errors import NotFoundError
from agent.manifests import Key
from agent.model import NodeName, Pod, PodUid
from agent.node.selection import Rules

_POLICIES = ("AuthorizationPolicy", "PeerAuthentication")


@dataclass(frozen=True, slots=True)
class Member:
    """One pod of what is described."""

    pod: Pod
    enrolment: Enrolment
    callers: Callers

    @property
    def identity(self) -> str:
        return str(self.pod.identity(wire.DEFAULT_TRUST_DOMAIN))


@dataclass(frozen=True, slots=True)
class Reached:
    """A Service: its host, addresses, ports as PORT or PORT/NAME, waypoint, and what is about calls to it."""

    key: Key
    host: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...]
    waypoint: Waypoint | None
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """pods: itself, or a Service's. services: those of a pod, or itself. waypoint: a pod's own.

    unread: policies of the namespace or the mesh that cannot be used, which may be for it.
    """

    key: Key
    pods: tuple[Member, ...]
    services: tuple[Reached, ...]
    waypoint: Waypoint | None
    policies: tuple[Policy, ...]
    unread: tuple[Key, ...]
    problems: tuple[Finding, ...] = field(default=())

    @property
    def is_guarded(self) -> bool:
        """Whether policies are enforced: for that, a pod has to be in the mesh."""
        return any(member.enrolment.is_in for member in self.pods)


class Objects:
    """What there is: the objects as the analysis has them, and as the controller has them."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self.corpus = Corpus(material.entries.values(), material.mesh, material.unread)
        self.state = ClusterState("objects", Mesh(config=settings(self.corpus) or MeshConfig()))
        for entry in material.entries.values():
            self.state.take(entry.value)

    def pod(self, name: PodName) -> Description:
        """What applies to a pod, or to the pods of a template of this name; NotFoundError without one."""
        found = [each for each in workloads.in_namespace(self.corpus, name.namespace) if each.entry.name == name.name]
        if not found:
            known = sorted({each.entry.name for each in workloads.in_namespace(self.corpus, name.namespace)})
            raise NotFoundError(self._missing("pod", str(name), known))
        workload = found[0]  # a pod comes before a template
        services = tuple(self._reached(each) for each in workloads.services_of(self.corpus, workload))
        own = routing.waypoint(self.corpus, workload.entry.key, workload.labels, "workload")
        return self._described(workload.entry.key, [workload], services, own)

    def service(self, name: PodName) -> Description:
        """What applies to a Service; NotFoundError without it."""
        found = self.corpus.find(kubernetes.Service, name.namespace, name.name)
        if found is None:
            known = [each.name for each in self.corpus.of(kubernetes.Service) if each.namespace == name.namespace]
            raise NotFoundError(self._missing("Service", str(name), known))
        pods = workloads.behind(self.corpus, found)
        return self._described(found.key, pods, (self._reached(found),), None)

    def _described(
        self, key: Key, found: Sequence[Workload], services: tuple[Reached, ...], waypoint: Waypoint | None
    ) -> Description:
        members = tuple(self._member(each) for each in found)
        waypoints = {each.name for each in (waypoint, *(each.waypoint for each in services)) if each is not None}
        policies = tuple(protection.policies_of(self.state, [member.pod for member in members], waypoints))
        description = Description(key, members, services, waypoint, policies, self._unread(key.namespace))
        about = {*_keys(description), *description.unread, *(each.entry.key for each in found)}
        problems = tuple(finding for finding in analyze(self._material) if finding.key in about)
        return replace(description, problems=problems)

    def _member(self, workload: Workload) -> Member:
        pod = _pod(workload)
        labels = workloads.labels_of_namespace(self.corpus, pod.namespace)
        rules = Rules(discovery=self.state.mesh.config.discovery_selectors)
        return Member(pod, protection.enrolment(pod, labels, rules), protection.callers(self.state, pod))

    def _reached(self, service: Entry[kubernetes.Service]) -> Reached:
        spec = service.value.spec
        waypoint = routing.waypoint(self.corpus, service.key, service.value.metadata.labels, "service")
        has_waypoint = waypoint is not None and not waypoint.trouble
        ports = tuple(f"{port.port}/{port.name}" if port.name else str(port.port) for port in spec.ports)
        about = tuple(routing.about(self.corpus, service, has_waypoint))
        return Reached(service.key, hosts.of_service(service), spec.virtual_addresses, ports, waypoint, about)

    def _unread(self, namespace: str) -> tuple[Key, ...]:
        """Policies that could be for the namespace's pods and were refused on reading."""
        read = {entry.key for entry in self._material.entries.values()}
        told = {finding.key for finding in self._material.findings if finding.key is not None} - read
        here = (each for each in told if each.namespace in (namespace, self.state.mesh.root_namespace))
        return tuple(sorted((each for each in here if each.kind in _POLICIES), key=str))

    def _missing(self, what: str, name: str, known: Iterable[str]) -> str:
        namespace = name.partition("/")[0]
        broken = [
            each.text
            for each in self._material.findings
            if each.key is not None and f"{each.key.namespace}/{each.key.name}" == name
        ]
        listed = ", ".join(known)
        there = f"namespace {namespace} has: {listed}" if listed else f"namespace {namespace} has none"
        return f"there is no usable {what} {name}; {'; '.join(broken) or there}"


def _keys(description: Description) -> Iterator[Key]:
    """Every object that the description is about."""
    yield description.key
    yield Key("Namespace", "", description.key.namespace)
    for service in description.services:
        yield service.key
        yield from (route.key for route in service.routes)
    for policy in description.policies:
        yield Key("AuthorizationPolicy", *policy.name.split("/"))
    for member in description.pods:
        kind, _, name = member.callers.decided_by.partition(" ")
        if name:
            yield Key(kind, *name.split("/"))
    for waypoint in (description.waypoint, *(each.waypoint for each in description.services)):
        if waypoint is not None:
            yield Key("Gateway", *waypoint.name.split("/"))


def _pod(workload: Workload) -> Pod:
    """The pod itself, or one as a template makes it."""
    if isinstance(workload.entry.value, kubernetes.Pod):
        return kubernetes.to_pod(workload.entry.value)
    return Pod(
        uid=PodUid(""),
        name=workload.entry.name,
        namespace=workload.namespace,
        service_account=workload.spec.service_account_name,
        node=NodeName(""),
        labels=workload.labels,
        annotations=workload.annotations,
        host_network=workload.spec.host_network,
        workload_name=workload.entry.name,
        sidecar=kubernetes.sidecar(workload.annotations, workload.spec),
    )
