"""What the debug port says of each pod of the node: whether it is in the mesh, and if not, why. Pure rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.model import NodeName, Pod, PodUid
from agent.node.enrolment import Standing
from agent.node.inventory import Inventory
from agent.node.selection import DEFAULT, Labels, Rules, Verdict, asks_for_injection, judge
from agent.wire import INJECTION_LABEL

Json = dict[str, object]

# What Istio's agent heeds and this one does not.
_WITHOUT_EFFECT: Final = (
    "ambient.istio.io/bypass-inbound-capture",
    "ambient.istio.io/dns-capture",
    "istio.io/reroute-virtual-interfaces",
)


def pod_rows(
    inventory: Inventory,
    node: NodeName,
    standings: Mapping[PodUid, Standing],
    left: Mapping[PodUid, str],
    rules: Rules = DEFAULT,
) -> list[Json]:
    """The node's living pods, by name. `left`: those that stay as they are or where they are, by why."""
    living = inventory.living(node).values()
    return [
        _row(
            pod,
            inventory.namespace_labels.get(pod.namespace, {}),
            standings.get(pod.uid),
            left.get(pod.uid, ""),
            rules,
        )
        for pod in sorted(living, key=lambda pod: (pod.namespace, pod.name))
    ]


def _row(pod: Pod, namespace_labels: Labels, standing: Standing | None, left: str, rules: Rules) -> Json:
    state, reason = _state(pod, judge(pod, namespace_labels, rules), standing, left)
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "account": pod.service_account,
        "addresses": list(pod.addresses),
        "state": state,
        "reason": reason,
        "unusable": bool(left),
        "sidecar": wants_sidecar(pod, namespace_labels, rules),
        "injection": asks_for_injection(pod, namespace_labels, rules),
        "without_effect": [name for name in _WITHOUT_EFFECT if name in pod.annotations],
    }


def _state(pod: Pod, verdict: Verdict, standing: Standing | None, left: str) -> tuple[str, str]:
    """enrolled; pending: on the way in; leaving: on the way out; outside: not wanted, or it cannot be told."""
    if left:
        return ("enrolled" if standing and standing.is_enrolled else "outside"), left
    if standing is None:
        return "outside", verdict.reason or "it is about to be enrolled"
    if verdict.is_wanted is False:
        return "leaving", standing.problem
    if standing.is_enrolled:
        return "enrolled", standing.problem
    return "pending", standing.problem or ("it is being enrolled" if pod.addresses else "it has no address yet")


def wants_sidecar(pod: Pod, namespace_labels: Labels, rules: Rules) -> bool:
    """Whether labels ask for a sidecar of Istio's (`istio-injection`, `sidecar.istio.io/inject`), or it has one.

    Not that of a namespace where enablement selectors say what labels mean.
    """
    if pod.sidecar:
        return True
    asked = pod.labels.get("sidecar.istio.io/inject")
    if asked or rules.enablement:
        return asked == "true"
    return namespace_labels.get(INJECTION_LABEL) == "enabled"
