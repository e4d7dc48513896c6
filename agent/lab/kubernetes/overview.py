"""A pod in the report that `weft lab status` and `weft lab exec` read. Rules only."""

from __future__ import annotations

from collections.abc import Mapping

from agent import model
from agent.kube import Object
from agent.lab.kubernetes.pod import PodRun
from agent.node.selection import select
from agent.wire import REDIRECTION_ANNOTATION, REDIRECTION_ENABLED


def line(run: PodRun, pod: model.Pod, namespaces: Mapping[str, Mapping[str, str]]) -> Object:
    """namespaces: the labels of each. The pod is as the API server has it now, by which it is in the mesh or not."""
    selection = select([pod], namespaces, pod.node, ())
    return {
        "full_name": run.pod.full_name,
        "uid": run.pod.metadata.uid,
        "node": run.node,
        "container": run.pod.spec.containers[0].name,
        "running": run.container_names(),
        "addresses": list(run.report.addresses),
        "phase": "Terminating" if run.is_ending else run.report.phase,
        "is_ready": run.report.is_ready,
        "is_wanted": pod.uid in selection.wanted,
        "is_enrolled": pod.annotations.get(REDIRECTION_ANNOTATION) == REDIRECTION_ENABLED,
        "reason": run.complaint(),
    }
