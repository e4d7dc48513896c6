"""Rules: which of the node's pods belong in the mesh. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.model import NodeName, Pod, PodUid
from agent.wire import (
    DATAPLANE_MODE_LABEL,
    DATAPLANE_MODES,
    DEFAULT_REVISION,
    INJECTION_LABEL,
    REVISION_LABEL,
    SYSTEM_NAMESPACE,
)

# The mesh and the cluster start without each other, so neither may wait for the other.
EXCLUDED_NAMESPACES: Final = frozenset({"kube-system", SYSTEM_NAMESPACE})

Labels = Mapping[str, str]


class Selector(Protocol):
    """What some labels match; as agent.api.label_selector.LabelSelector."""

    def matches(self, labels: Labels) -> bool: ...


@dataclass(frozen=True, slots=True)
class Enablement:
    """Pods that shall be enrolled: those that both selectors match. None matches every pod, or namespace."""

    pod: Selector | None = None
    namespace: Selector | None = None

    def matches(self, pod_labels: Labels, namespace_labels: Labels) -> bool:
        is_pod = self.pod is None or self.pod.matches(pod_labels)
        return is_pod and (self.namespace is None or self.namespace.matches(namespace_labels))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the mesh's owner has said of who belongs to it.

    revision: of this mesh, among several in one cluster. enablement: any of them enrols; without any the label
    istio.io/dataplane-mode does. discovery: any of them makes a namespace part of the mesh; without any all are.
    obstacle: why nobody knows what the owner wants; until then whoever is in stays in, and nobody joins.
    """

    revision: str = DEFAULT_REVISION
    excluded: frozenset[str] = EXCLUDED_NAMESPACES
    enablement: tuple[Enablement, ...] = ()
    discovery: tuple[Selector, ...] = ()
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """is_wanted None: cannot be told, and the pod stays as it is. reason: why a pod is not wanted.

    is_problem: somebody asked for more than can be done.
    """

    is_wanted: bool | None
    reason: str = ""
    is_problem: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The pods to enrol, and by pod why one is left as it was."""

    wanted: Mapping[PodUid, Pod] = field(default_factory=dict)
    problems: Mapping[PodUid, str] = field(default_factory=dict)


DEFAULT: Final = Rules()


def select(
    pods: Iterable[Pod],
    namespace_labels: Mapping[str, Labels],
    node: NodeName,
    enrolled: Collection[PodUid],
    rules: Rules = DEFAULT,
) -> Selection:
    """Choose among all pods; `enrolled` are those that are, or are on the way.

    What cannot be understood changes nothing, and of two live pods that claim one address
    neither is newly enrolled.
    """
    candidates = [pod for pod in pods if pod.node == node and not pod.host_network and not pod.is_finished]
    claims = Counter(address for pod in candidates for address in set(pod.addresses))
    wanted: dict[PodUid, Pod] = {}
    problems: dict[PodUid, str] = {}
    for pod in candidates:
        verdict = judge(pod, namespace_labels.get(pod.namespace, {}), rules)
        if verdict.is_problem:
            problems[pod.uid] = verdict.reason
        is_wanted = pod.uid in enrolled if verdict.is_wanted is None else verdict.is_wanted
        shared = sorted(address for address in pod.addresses if claims[address] > 1)
        if is_wanted and shared and pod.uid not in enrolled:
            problems[pod.uid] = f"address {shared[0]} is claimed by another live pod of the node too"
        elif is_wanted:
            wanted[pod.uid] = pod
    return Selection(wanted, problems)


def judge(pod: Pod, namespace_labels: Labels, rules: Rules = DEFAULT) -> Verdict:
    """Whether a pod belongs in the mesh, by what it and its namespace say; nothing else, so that it comes to rest."""
    if pod.host_network:
        return Verdict(False, "it is in its host's network, which never belongs to the mesh")
    if pod.namespace in rules.excluded:
        return Verdict(False, f"namespace {pod.namespace} never belongs to the mesh")
    mode = _mode(pod, namespace_labels)
    if mode not in DATAPLANE_MODES:
        accepted = ", ".join(DATAPLANE_MODES)
        return Verdict(None, f"label {DATAPLANE_MODE_LABEL}={mode} is not known; accepted are {accepted}", True)
    if not _is_enabled(pod, namespace_labels, rules):
        return Verdict(False, _why_not(pod, namespace_labels, rules))
    revision = pod.labels.get(REVISION_LABEL) or namespace_labels.get(REVISION_LABEL) or DEFAULT_REVISION
    if revision != rules.revision:
        return Verdict(False, f"label {REVISION_LABEL}={revision}: it is another mesh's; this one is {rules.revision}")
    if rules.obstacle:
        return Verdict(None, rules.obstacle, True)
    if rules.discovery and not any(each.matches(namespace_labels) for each in rules.discovery):
        return Verdict(False, f"the mesh's discoverySelectors leave namespace {pod.namespace} out")
    if pod.sidecar:
        return Verdict(False, _sidecar(pod), True)
    return Verdict(True)


def asks_for_injection(pod: Pod, namespace_labels: Labels, rules: Rules = DEFAULT) -> str:
    """The label by which a namespace without a word on ambient asks this mesh for sidecars, empty without one.

    Enablement selectors may give such a label any meaning.
    """
    if rules.enablement or DATAPLANE_MODE_LABEL in namespace_labels or DATAPLANE_MODE_LABEL in pod.labels:
        return ""
    if namespace_labels.get(INJECTION_LABEL) == "enabled":
        return f"{INJECTION_LABEL}=enabled"
    named = namespace_labels.get(REVISION_LABEL)
    return f"{REVISION_LABEL}={named}" if named and named == rules.revision else ""


def _mode(pod: Pod, namespace_labels: Labels) -> str:
    """What the pod's label says, or else its namespace's."""
    return pod.labels.get(DATAPLANE_MODE_LABEL) or namespace_labels.get(DATAPLANE_MODE_LABEL) or "none"


def _is_enabled(pod: Pod, namespace_labels: Labels, rules: Rules) -> bool:
    if rules.enablement:
        return any(each.matches(pod.labels, namespace_labels) for each in rules.enablement)
    return _mode(pod, namespace_labels) == "ambient"


def _why_not(pod: Pod, namespace_labels: Labels, rules: Rules) -> str:
    if pod.labels.get(DATAPLANE_MODE_LABEL) == "none":
        return f"its label says {DATAPLANE_MODE_LABEL}=none"
    if rules.enablement:
        return "none of the node agent's AMBIENT_ENABLEMENT_SELECTOR matches it"
    if asked := asks_for_injection(pod, namespace_labels, rules):
        return (
            f"its namespace has the label {asked}, by which nobody is enrolled: {DATAPLANE_MODE_LABEL}=ambient does it"
        )
    return f"neither the pod nor its namespace has the label {DATAPLANE_MODE_LABEL}=ambient"


def _sidecar(pod: Pod) -> str:
    return (
        f"its sidecar ({pod.sidecar}) carries its traffic already; to enrol it, end the injection of sidecars "
        "for it and make the pod anew"
    )
