"""Typed models of the Kubernetes objects that Weft reads, and that the lab runs.

Only the fields that somebody uses are here; all others are ignored, as an older client would
do. What is here is checked: a value of the wrong type or outside its enumeration makes the
whole object invalid, and the caller keeps the last good one. JSON null means absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, StrictBool, StrictStr, ValidationError, model_validator

from agent import model
from agent.api import registry
from agent.api.faults import faults_of, in_words
from agent.api.fields import (
    HEADLESS,
    Address,
    ClusterAddress,
    Count,
    Labels,
    Name,
    PortNumber,
    Protocol,
    Seconds,
    empty,
    not_empty,
)
from agent.api.fields import PortReference as PortReference
from agent.api.objects import NamedObject, ObjectMeta, Part
from agent.errors import InvalidObjectError


class Namespace(NamedObject):
    """v1 Namespace."""


class ServiceAccount(NamedObject):
    """v1 ServiceAccount."""


class Condition(Part):
    type: StrictStr
    status: Literal["True", "False", "Unknown"]
    reason: StrictStr = ""
    message: StrictStr = ""


class NodeAddress(Part):
    type: StrictStr
    address: StrictStr


class NodeSpec(Part):
    pod_cidrs: tuple[StrictStr, ...] = Field(default=(), alias="podCIDRs")


class NodeStatus(Part):
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Node(NamedObject):
    """v1 Node; its labels say region and zone."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class FieldReference(Part):
    field_path: StrictStr


class EnvSource(Part):
    """Where an environment variable's value comes from; only the downward API is known."""

    field_ref: FieldReference


class EnvVariable(Part):
    name: Annotated[StrictStr, Field(min_length=1)]
    value: StrictStr = ""
    value_from: EnvSource | None = None


class ContainerPort(Part):
    container_port: PortNumber
    name: StrictStr = ""
    protocol: Protocol = "TCP"


class TcpSocketAction(Part):
    port: PortReference
    host: StrictStr = ""


class HttpGetAction(Part):
    port: PortReference
    path: StrictStr = "/"
    host: StrictStr = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


class ExecAction(Part):
    command: Annotated[tuple[StrictStr, ...], AfterValidator(not_empty)]


class Probe(Part):
    """How to ask a container whether it is ready: exactly one of the three actions."""

    tcp_socket: TcpSocketAction | None = None
    http_get: HttpGetAction | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: Count = 0
    period_seconds: Seconds = 10
    timeout_seconds: Seconds = 1
    success_threshold: Seconds = 1
    failure_threshold: Seconds = 3

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        if sum(action is not None for action in (self.tcp_socket, self.http_get, self.exec)) != 1:
            raise ValueError("accepted is exactly one of tcpSocket, httpGet, exec")
        return self


class Container(Part):
    name: Name
    image: StrictStr = ""
    command: tuple[StrictStr, ...] = ()
    args: tuple[StrictStr, ...] = ()
    working_dir: StrictStr = ""
    env: tuple[EnvVariable, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None


class StatedContainer(Part):
    """A container as others see it: its ports."""

    name: StrictStr = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Part):
    node_name: StrictStr = ""
    host_network: StrictBool = False
    service_account_name: Annotated[StrictStr, AfterValidator(lambda value: value or "default")] = "default"
    containers: Annotated[tuple[Container, ...], AfterValidator(not_empty)]
    init_containers: tuple[StatedContainer, ...] = ()
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    termination_grace_period_seconds: Count = 30


class StatedPodSpec(Part):
    node_name: StrictStr = ""
    host_network: StrictBool = False
    service_account_name: Annotated[StrictStr, AfterValidator(lambda value: value or "default")] = "default"
    containers: tuple[StatedContainer, ...] = ()
    init_containers: tuple[StatedContainer, ...] = ()


class PodAddress(Part):
    ip: Address


class PodStatus(Part):
    phase: Literal["", "Pending", "Running", "Succeeded", "Failed", "Unknown"] = ""
    pod_ips: tuple[PodAddress, ...] = Field(default=(), alias="podIPs")
    conditions: tuple[Condition, ...] = ()
    reason: StrictStr = ""
    message: StrictStr = ""

    @property
    def is_ready(self) -> bool:
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.conditions)


class Pod(NamedObject):
    """v1 Pod."""

    spec: PodSpec
    status: PodStatus = PodStatus()


class StatedPod(NamedObject):
    """v1 Pod in a cluster that runs it: only what others need to reach it. How it is run is not checked here, so a
    volume, a probe or a variable of a kind that is new hides no pod from the mesh."""

    spec: StatedPodSpec = StatedPodSpec()
    status: PodStatus = PodStatus()


class ServicePort(Part):
    """One port of a service; `target_port` None is the port itself."""

    port: PortNumber
    name: StrictStr = ""
    target_port: PortReference | None = None
    protocol: Protocol = "TCP"
    app_protocol: StrictStr = ""


class ServiceSpec(Part):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    ports: tuple[ServicePort, ...] = ()
    selector: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    cluster_ip: ClusterAddress = Field(default="", alias="clusterIP")
    cluster_ips: tuple[ClusterAddress, ...] = Field(default=(), alias="clusterIPs")
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] = ()
    publish_not_ready_addresses: StrictBool = False
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    traffic_distribution: Literal["", "PreferClose", "PreferSameZone", "PreferSameNode"] = ""

    @property
    def is_headless(self) -> bool:
        return self.cluster_ip == HEADLESS

    @property
    def virtual_addresses(self) -> tuple[str, ...]:
        """clusterIPs, or clusterIP alone; empty for a headless service and before one is given."""
        given = self.cluster_ips or (self.cluster_ip,)
        return tuple(address for address in given if address not in ("", HEADLESS))


class LoadBalancerAddress(Part):
    """Where a load balancer takes connections; one may have but a name."""

    ip: StrictStr = ""


class LoadBalancerStatus(Part):
    ingress: tuple[LoadBalancerAddress, ...] = ()


class ServiceStatus(Part):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(NamedObject):
    """v1 Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class LabelSelector(Part):
    """Labels that all must match. Expressions are refused, not ignored: they would select other pods."""

    match_labels: Annotated[dict[StrictStr, StrictStr], Field(min_length=1)]
    match_expressions: Annotated[tuple[object, ...], AfterValidator(empty)] = ()


class TemplateMeta(Part):
    labels: Labels = Field(default_factory=dict)
    annotations: dict[StrictStr, StrictStr] = Field(default_factory=dict)


class PodTemplate(Part):
    metadata: TemplateMeta = TemplateMeta()
    spec: PodSpec


class DeploymentSpec(Part):
    replicas: Count = 1
    selector: LabelSelector
    template: PodTemplate

    @model_validator(mode="after")
    def _selects_its_own_pods(self) -> Self:
        if not self.selector.match_labels.items() <= self.template.metadata.labels.items():
            raise ValueError("selector.matchLabels must be among template.metadata.labels")
        return self


class Deployment(NamedObject):
    """apps/v1 Deployment."""

    spec: DeploymentSpec


Resource = NamedObject  # of any kind that parse() knows
ModelT = TypeVar("ModelT", bound=NamedObject)


def parse(object: Mapping[str, object], where: str) -> Resource:
    """The typed form of an object as an API server or a manifest gives it.

    where: the file or watch that it comes from, for the error. A namespaced object without
    a namespace is in `default`. Raises InvalidObjectError that names where, kind and name,
    the field, what was read there and what is accepted, for every field that is wrong.
    """
    found = registry.find(object.get("apiVersion"), object.get("kind"))
    if found is None:
        kind = f"{object.get('apiVersion')} {object.get('kind')}"
        accepted = registry.accepted_beside(object.get("apiVersion"), object.get("kind"))
        raise InvalidObjectError(f"{where}: read apiVersion and kind {kind!r}; accepted are {accepted}")
    qualified = _with_namespace(object, is_namespaced=found.is_namespaced)
    return _as(found.model, qualified, f"{where}: {found.model.__name__}")


def stated_pod(object: Mapping[str, object], where: str) -> StatedPod:
    """A Pod of which only that is read which others need; fails as parse() does."""
    return pod_as(StatedPod, object, where)


def pod_as(model: type[ModelT], object: Mapping[str, object], where: str) -> ModelT:
    """A Pod by one of its models; fails as parse() does."""
    return _as(model, _with_namespace(object, is_namespaced=True), f"{where}: Pod")


def _as(model: type[ModelT], qualified: Mapping[str, object], what: str) -> ModelT:
    try:
        return model.model_validate(qualified)
    except ValidationError as exc:
        faults = faults_of(exc)
        raise InvalidObjectError(f"{what} {_label(qualified)}: {in_words(faults)}", faults) from exc


def _with_namespace(object: Mapping[str, object], *, is_namespaced: bool) -> Mapping[str, object]:
    metadata = object.get("metadata")
    if not is_namespaced or not isinstance(metadata, Mapping) or metadata.get("namespace"):
        return object
    return {**object, "metadata": {**metadata, "namespace": "default"}}


def _label(object: Mapping[str, object]) -> str:
    metadata = object.get("metadata")
    if not isinstance(metadata, Mapping):
        return "without a name"
    return f"{metadata.get('namespace') or ''}/{metadata.get('name') or '?'}".removeprefix("/")


def to_pod(pod: Pod | StatedPod) -> model.Pod:
    """The pod as the mesh sees it."""
    workload_name, workload_type = _workload(pod.metadata)
    return model.Pod(
        uid=model.PodUid(pod.metadata.uid),
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        service_account=pod.spec.service_account_name,
        node=model.NodeName(pod.spec.node_name),
        addresses=tuple(address.ip for address in pod.status.pod_ips),
        labels=pod.metadata.labels,
        annotations=pod.metadata.annotations,
        host_network=pod.spec.host_network,
        is_ready=pod.status.is_ready,
        is_finished=pod.status.phase in ("Succeeded", "Failed"),
        is_terminating=bool(pod.metadata.deletion_timestamp),
        workload_name=workload_name,
        workload_type=workload_type,
        sidecar=sidecar(pod.metadata.annotations, pod.spec),
    )


def sidecar(annotations: Mapping[str, str], spec: PodSpec | StatedPodSpec) -> str:
    """What shows that a pod has a proxy of its own; empty without one."""
    names = (container.name for container in (*spec.init_containers, *spec.containers))
    return model.sidecar_of(annotations, names)


def _workload(metadata: ObjectMeta) -> tuple[str, str]:
    """Name and type of what the pod is a replica of, after its controlling owner.

    A ReplicaSet is named DEPLOYMENT-HASH, and the hash is also a label; a CronJob's Job is
    named CRONJOB-MINUTES. Other owners (StatefulSet, DaemonSet) give the name only: the
    wire's enumeration has no word for them.
    """
    owner = next((owner for owner in metadata.owner_references if owner.controller), None)
    if owner is None:
        return metadata.name, "pod"
    hash_suffix = "-" + metadata.labels.get("pod-template-hash", "")
    match owner.kind:
        case "Deployment":
            return owner.name, "deployment"
        case "ReplicaSet" if len(hash_suffix) > 1 and owner.name.endswith(hash_suffix):
            return owner.name.removesuffix(hash_suffix), "deployment"
        case "Job":
            cron = re.fullmatch(r"(.+)-\d{8,10}", owner.name)
            return (cron[1], "cronjob") if cron else (owner.name, "job")
    return owner.name, "pod"
