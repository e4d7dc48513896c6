"""Rules: which of the node's pods belong in the mesh. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.model import NodeName, Pod, PodUid
from agent.wire import DATAPLANE_MODE_LABEL, DATAPLANE_MODES, SYSTEM_NAMESPACE

# The mesh and the cluster start without each other, so neither may wait for the other.
EXCLUDED_NAMESPACES: Final = frozenset({"kube-system", SYSTEM_NAMESPACE})


@dataclass(frozen=True, slots=True)
class Selection:
    """The pods to enrol, and by pod why one is left as it was."""

    wanted: Mapping[PodUid, Pod] = field(default_factory=dict)
    problems: Mapping[PodUid, str] = field(default_factory=dict)


def select(
    pods: Iterable[Pod],
    namespace_labels: Mapping[str, Mapping[str, str]],
    node: NodeName,
    enrolled: Collection[PodUid],
) -> Selection:
    """Choose among all pods; `enrolled` are those that are, or are on the way.

    The pod's label beats its namespace's. What cannot be understood changes nothing: an
    unknown mode keeps a pod as it is, and of two live pods that claim one address neither
    is newly enrolled.
    """
    candidates = [pod for pod in pods if pod.node == node and not pod.host_network and not pod.is_finished]
    claims = Counter(address for pod in candidates for address in set(pod.addresses))
    wanted: dict[PodUid, Pod] = {}
    problems: dict[PodUid, str] = {}
    for pod in candidates:
        if pod.namespace in EXCLUDED_NAMESPACES:
            continue
        mode = mode_of(pod, namespace_labels.get(pod.namespace, {}))
        if mode not in DATAPLANE_MODES:
            accepted = ", ".join(DATAPLANE_MODES)
            problems[pod.uid] = f"label {DATAPLANE_MODE_LABEL}={mode} is not known; accepted are {accepted}"
        is_wanted = mode == "ambient" if mode in DATAPLANE_MODES else pod.uid in enrolled
        shared = sorted(address for address in pod.addresses if claims[address] > 1)
        if is_wanted and shared and pod.uid not in enrolled:
            problems[pod.uid] = f"address {shared[0]} is claimed by another live pod of the node too"
        elif is_wanted:
            wanted[pod.uid] = pod
    return Selection(wanted, problems)


def belongs(pod: Pod, namespace_labels: Mapping[str, str]) -> bool:
    """Whether one pod that has not been enrolled yet is to be; `select` agrees while no address clashes."""
    if pod.host_network or pod.is_finished or pod.namespace in EXCLUDED_NAMESPACES:
        return False
    return mode_of(pod, namespace_labels) == "ambient"


def mode_of(pod: Pod, namespace_labels: Mapping[str, str]) -> str:
    """What the pod's label says, or else its namespace's."""
    return pod.labels.get(DATAPLANE_MODE_LABEL) or namespace_labels.get(DATAPLANE_MODE_LABEL) or "none"
