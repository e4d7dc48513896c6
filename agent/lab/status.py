"""What a lab is doing, from its files alone: the supervisor need not be alive."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.table import Table

from agent.api.kubernetes import Deployment, Namespace, Pod, parse, to_pod
from agent.errors import InvalidObjectError, NotFoundError
from agent.kube import (
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SYSTEM_CONFIG_MAP,
    Change,
    ChangeType,
    Kind,
    Object,
    read_object,
)
from agent.lab import cgroups
from agent.lab.commands import in_pod
from agent.lab.containers import environment
from agent.lab.layout import PAUSE, Layout
from agent.lab.record import ProcessId, Record
from agent.model import NodeName
from agent.node.mesh_settings import MeshSettings
from agent.node.selection import DEFAULT, Rules, select
from agent.wire import REDIRECTION_ANNOTATION, REDIRECTION_ENABLED

R = TypeVar("R", Namespace, Pod, Deployment)


@dataclass(frozen=True, slots=True)
class PodLine:
    """A pod as `weft lab status` shows it. wanted: its labels put it into the mesh; enrolled: it is there."""

    full_name: str
    uid: str
    pid: int | None  # of its first container
    node: str
    addresses: tuple[str, ...]
    phase: str
    is_ready: bool
    is_wanted: bool
    is_enrolled: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """All of `weft lab status`; `report` is what the supervisor wrote last."""

    name: str
    is_supervised: bool
    nodes: tuple[str, ...]
    pods: tuple[PodLine, ...]
    deployments: tuple[tuple[str, int, int], ...]  # full name, wanted, ready
    report: Object

    def missing(self) -> list[str]:
        """What still stands between this lab and one that is wholly up."""
        found = [] if self.report["is_applied"] else ["the manifests are not applied yet"]
        for pod in self.pods:
            if pod.phase != "Succeeded" and not pod.is_ready:
                found.append(f"pod {pod.full_name} is not ready ({pod.reason or pod.phase})")
            elif pod.is_wanted and not pod.is_enrolled:
                found.append(f"pod {pod.full_name} is not captured on {pod.node}")
        for name, wanted, ready in self.deployments:
            if ready < wanted:
                found.append(f"deployment {name} has {ready} of {wanted} pods ready")
        return found

    def as_json(self) -> Object:
        return {
            "name": self.name,
            "supervised": self.is_supervised,
            "nodes": list(self.nodes),
            "processes": [
                {
                    "name": process["name"],
                    "pid": process["pid"],
                    "restarts": process["restarts"],
                    "up": process["pid"] is not None,
                    "since": process["since"],
                    "last_exit": process["last_exit"],
                }
                for process in self.report["processes"]
            ],
            "pods": [
                {
                    "name": pod.full_name,
                    "uid": pod.uid,
                    "pid": pod.pid,
                    "node": pod.node,
                    "addresses": list(pod.addresses),
                    "phase": pod.phase,
                    "ready": pod.is_ready,
                    "wanted": pod.is_wanted,
                    "enrolled": pod.is_enrolled,
                    "reason": pod.reason,
                }
                for pod in self.pods
            ],
            "problems": [problem["text"] for problem in self.report["problems"]],
            "kept": self.report["kept"],
            "missing": self.missing(),
        }

    def as_text(self, now: datetime) -> RenderableType:
        return Group(*self._tables(now))

    def _tables(self, now: datetime) -> list[RenderableType]:
        supervisor = "" if self.is_supervised else " (its supervisor has ended: run `weft lab down`)"
        processes = _table(f"Lab {self.name}{supervisor}", "Process", "PID", "Restarts", "Up", "Last exit")
        for process in self.report["processes"]:
            seconds = int(now.timestamp() - process["since"])
            is_up = process["pid"] is not None
            last = process["last_exit"]
            processes.add_row(
                process["name"],
                str(process["pid"] or "-"),
                str(process["restarts"]),
                f"{seconds} s" if is_up else "no",
                "-" if last is None else str(last),
            )
        pods = _table("Pods", "Node", "Pod", "Addresses", "Phase", "Ready", "Mesh")
        for pod in self.pods:
            mesh = "enrolled" if pod.is_enrolled else "waiting" if pod.is_wanted else "-"
            ready = "yes" if pod.is_ready else "no"
            pods.add_row(pod.node, pod.full_name, " ".join(pod.addresses), pod.phase, ready, mesh)
        problems = [f"problem: {problem['text']}" for problem in self.report["problems"]]
        kept = [f"kept, but not run by the lab: {kept}" for kept in self.report["kept"]]
        reasons = [f"{pod.full_name}: {pod.reason}" for pod in self.pods if pod.reason]
        return [processes, pods, *problems, *reasons, *kept]


def read(layout: Layout, record: Record) -> Status:
    """The lab's status now."""
    try:
        report = json.loads(layout.report.read_text())
    except FileNotFoundError:
        report = {"is_applied": False, "problems": [], "kept": [], "processes": []}
    namespaces = {found.metadata.name: found.metadata.labels for found in _objects(layout, NAMESPACE, Namespace)}
    pods = _objects(layout, POD, Pod)
    deployments = _objects(layout, DEPLOYMENT, Deployment)
    return Status(
        name=layout.name,
        is_supervised=record.supervisor.is_running,
        nodes=record.nodes,
        pods=tuple(sorted(_lines(layout, pods, namespaces, record.nodes, _rules(layout)), key=_by_node)),
        deployments=tuple(
            (found.full_name, found.spec.replicas, sum(_is_of(pod, found) for pod in pods)) for found in deployments
        ),
        report=report,
    )


def _rules(layout: Layout) -> Rules:
    """Who belongs to the mesh, as far as its ConfigMap says; settings of a node agent's own are not in the files."""
    mesh = MeshSettings(DEFAULT)
    for path in (layout.state / SYSTEM_CONFIG_MAP.plural).glob(f"{SYSTEM_CONFIG_MAP.namespace}_*.json"):
        with contextlib.suppress(InvalidObjectError):  # told of by whoever follows the directory
            mesh.apply(Change(ChangeType.ADDED, SYSTEM_CONFIG_MAP, read_object(path)))
    return mesh.rules


def _lines(
    layout: Layout,
    pods: list[Pod],
    namespaces: Mapping[str, Mapping[str, str]],
    nodes: tuple[str, ...],
    rules: Rules,
) -> list[PodLine]:
    mesh = [to_pod(pod) for pod in pods]
    wanted = {uid for node in nodes for uid in select(mesh, namespaces, NodeName(node), (), rules).wanted}
    return [
        PodLine(
            full_name=pod.full_name,
            uid=pod.metadata.uid,
            pid=oldest(_container_cgroup(layout, pod)),
            node=pod.spec.node_name,
            addresses=tuple(address.ip for address in pod.status.pod_ips),
            phase="Terminating" if pod.metadata.deletion_timestamp else pod.status.phase or "Pending",
            is_ready=pod.status.is_ready,
            is_wanted=pod.metadata.uid in wanted,
            is_enrolled=pod.metadata.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTION_ENABLED,
            reason=pod.status.message,
        )
        for pod in pods
    ]


def _by_node(pod: PodLine) -> tuple[str, str]:
    return pod.node, pod.full_name


def way_into(layout: Layout, full_name: str, command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that run a command in a running pod; NotFoundError without that pod.

    The environment is that of the pod's first container, and the caller's TERM.
    """
    pods = _objects(layout, POD, Pod)
    pod = next((pod for pod in pods if pod.full_name == full_name), None)
    if pod is None:
        known = ", ".join(sorted(pod.full_name for pod in pods))
        raise NotFoundError(f"no pod {full_name!r} in lab {layout.name}; there are: {known or 'none'}")
    cgroup = layout.pod_cgroup(pod.spec.node_name, pod.metadata.uid)
    pause = oldest(cgroup / PAUSE)
    if pause is None:
        raise NotFoundError(f"pod {full_name} does not run: {pod.status.message or pod.status.phase or 'Pending'}")
    container = pod.spec.containers[0]
    addresses = [address.ip for address in pod.status.pod_ips]
    variables = environment(pod, container, addresses, "") if addresses else {}
    cgroups.create(cgroup / "exec")
    return in_pod(pause, cgroup / "exec", command, working_dir=container.working_dir), variables


def _container_cgroup(layout: Layout, pod: Pod) -> Path:
    return layout.pod_cgroup(pod.spec.node_name, pod.metadata.uid) / pod.spec.containers[0].name


def oldest(cgroup: Path) -> int | None:
    """The process in a cgroup that started first."""
    found: list[ProcessId] = []
    for pid in cgroups.processes(cgroup):
        with contextlib.suppress(NotFoundError):
            found.append(ProcessId.of(pid))
    return min(found, key=lambda process: (process.start, process.pid)).pid if found else None


def _is_of(pod: Pod, deployment: Deployment) -> bool:
    """Whether a pod is a ready one of the deployment."""
    name = to_pod(pod).workload_name
    same_namespace = pod.metadata.namespace == deployment.metadata.namespace
    return same_namespace and name == deployment.metadata.name and pod.status.is_ready


def _objects(layout: Layout, kind: Kind, model: type[R]) -> list[R]:
    found: list[R] = []
    for path in sorted((layout.state / kind.plural).glob("[!.]*.json")):
        try:
            raw = read_object(path)
            typed = parse(raw, str(path)) if raw is not None else None
        except InvalidObjectError:
            continue  # gone meanwhile, or told of by whoever follows the directory
        if isinstance(typed, model):
            found.append(typed)
    return found


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
