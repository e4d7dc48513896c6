"""What a lab on an API server is doing, from its files alone: neither supervisor nor API server need be alive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from agent.errors import NotFoundError
from agent.kube import Object
from agent.lab.layout import Layout
from agent.lab.oci.bundles import Bundle
from agent.lab.oci.running import command_line
from agent.lab.record import Record
from agent.lab.status import PodLine, Status, oldest

_EMPTY: Object = {"is_applied": False, "problems": [], "kept": [], "processes": [], "pods": []}


def read(layout: Layout, record: Record) -> Status:
    """The lab's status, as its supervisor wrote it last."""
    report = _report(layout)
    return Status(
        name=layout.name,
        is_supervised=record.supervisor.is_running,
        nodes=record.nodes,
        pods=tuple(_line(layout, pod) for pod in report["pods"]),
        deployments=(),
        report=report,
    )


def way_into(layout: Layout, full_name: str, command: Sequence[str], *, has_terminal: bool) -> list[str]:
    """The command line that runs a command in the first container of a pod that runs; NotFoundError without it."""
    pods = {pod["full_name"]: pod for pod in _report(layout)["pods"]}
    if full_name not in pods:
        raise NotFoundError(
            f"no pod {full_name!r} in lab {layout.name}; there are: {', '.join(sorted(pods)) or 'none'}"
        )
    containers: list[str] = list(pods[full_name]["running"].values())
    if not containers:
        reason = pods[full_name]["reason"] or pods[full_name]["phase"]
        raise NotFoundError(f"pod {full_name} does not run: {reason}")
    bundle = Bundle.of(layout.root, containers[0])
    terminal = ["--tty"] if has_terminal else []
    return command_line(bundle, Path("/dev/stderr"), "exec", *terminal, containers[0], *command)


def _line(layout: Layout, pod: Object) -> PodLine:
    cgroup = layout.pod_cgroup(pod["node"], pod["uid"]) / pod["container"]
    return PodLine(
        full_name=pod["full_name"],
        uid=pod["uid"],
        pid=oldest(cgroup),
        node=pod["node"],
        addresses=tuple(pod["addresses"]),
        phase=pod["phase"],
        is_ready=pod["is_ready"],
        is_wanted=pod["is_wanted"],
        is_enrolled=pod["is_enrolled"],
        reason=pod["reason"],
    )


def _report(layout: Layout) -> Object:
    try:
        found: Object = json.loads(layout.report.read_text())
    except FileNotFoundError:
        return _EMPTY
    return found
