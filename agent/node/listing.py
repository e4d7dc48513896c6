"""What the debug port says of each pod of the node: whether it is in the mesh, and if not, why. Pure rules."""

from __future__ import annotations

from collections.abc import Mapping

from agent.model import NodeName, Pod, PodUid
from agent.node.enrolment import Standing
from agent.node.inventory import Inventory
from agent.node.selection import EXCLUDED_NAMESPACES, mode_of
from agent.wire import DATAPLANE_MODE_LABEL

Json = dict[str, object]

_NOT_LABELLED = f"neither the pod nor its namespace has the label {DATAPLANE_MODE_LABEL}=ambient"


def pod_rows(
    inventory: Inventory, node: NodeName, standings: Mapping[PodUid, Standing], left: Mapping[PodUid, str]
) -> list[Json]:
    """The node's living pods, by name. `left`: those whose label or address cannot be used, by why."""
    living = inventory.living(node).values()
    return [
        _row(pod, inventory.namespace_labels.get(pod.namespace, {}), standings.get(pod.uid), left.get(pod.uid, ""))
        for pod in sorted(living, key=lambda pod: (pod.namespace, pod.name))
    ]


def _row(pod: Pod, namespace_labels: Mapping[str, str], standing: Standing | None, left: str) -> Json:
    state, reason = _state(pod, mode_of(pod, namespace_labels), standing, left)
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "account": pod.service_account,
        "addresses": list(pod.addresses),
        "state": state,
        "reason": reason,
        "unusable": bool(left),
        "sidecar": wants_sidecar(pod, namespace_labels),
    }


def _state(pod: Pod, mode: str, standing: Standing | None, left: str) -> tuple[str, str]:
    """enrolled; pending: on the way in; leaving: on the way out; outside: not wanted, or it cannot be told."""
    if left:
        return ("enrolled" if standing and standing.is_enrolled else "outside"), left
    if standing is None:
        return "outside", _why_outside(pod, mode)
    if mode != "ambient":
        return "leaving", standing.problem
    if standing.is_enrolled:
        return "enrolled", standing.problem
    return "pending", standing.problem or ("it is being enrolled" if pod.addresses else "it has no address yet")


def _why_outside(pod: Pod, mode: str) -> str:
    if pod.host_network:
        return "it is in its host's network, which never belongs to the mesh"
    if pod.namespace in EXCLUDED_NAMESPACES:
        return f"namespace {pod.namespace} never belongs to the mesh"
    if pod.labels.get(DATAPLANE_MODE_LABEL) == "none":
        return f"its label says {DATAPLANE_MODE_LABEL}=none"
    return "it is about to be enrolled" if mode == "ambient" else _NOT_LABELLED


def wants_sidecar(pod: Pod, namespace_labels: Mapping[str, str]) -> bool:
    """Whether labels ask for a sidecar of Istio's (`istio-injection`, `sidecar.istio.io/inject`), or it has one."""
    if "sidecar.istio.io/status" in pod.annotations:
        return True
    asked = pod.labels.get("sidecar.istio.io/inject")
    return asked == "true" if asked else namespace_labels.get("istio-injection") == "enabled"
