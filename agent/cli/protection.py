"""What guards a pod: whether it is enrolled, who may call it without an identity, and its policies. Pure rules.

They are asked of the node agent's and the controller's own rules, which decide for real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent import wire
from agent.api.security import AuthorizationPolicy, PeerAuthentication
from agent.controller import peers, policies
from agent.controller.cluster import ClusterState
from agent.model import Pod
from agent.node.selection import DEFAULT, Rules, judge

_ORDER: Final = ("CUSTOM", "DENY", "ALLOW", "AUDIT")  # in which they decide
ENROLLED: Final = "enrolled"
PENDING: Final = "pending"
LEAVING: Final = "leaving"
OUTSIDE: Final = "outside"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """state: enrolled, pending, leaving or outside, as `weft status` has it. reason: why."""

    state: str
    reason: str

    @property
    def is_in(self) -> bool:
        """Whether its connections go through the mesh now."""
        return self.state in (ENROLLED, LEAVING)


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call: with an identity only, if `is_strict`. ports: those that differ, with their mode."""

    is_strict: bool
    decided_by: str
    ports: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """An AuthorizationPolicy; `shortfalls` say what of it is not enforced as it is written."""

    name: str
    action: str
    scope: str
    is_dry_run: bool
    shortfalls: tuple[str, ...]
    pods: int  # how many of those that are described it is for


def enrolment(pod: Pod, namespace_labels: Mapping[str, str], rules: Rules = DEFAULT) -> Enrolment:
    """A pod that no cluster has stored counts as enrolled when it is to be."""
    verdict = judge(pod, namespace_labels, rules)
    if pod.is_finished:
        return Enrolment(OUTSIDE, "it has ended")
    if verdict.is_wanted:
        reason = _by_which_label(pod, namespace_labels)
        return Enrolment(ENROLLED if pod.is_redirected or not pod.uid else PENDING, reason)
    return Enrolment(LEAVING if pod.is_redirected else OUTSIDE, verdict.reason)


def callers(state: ClusterState, pod: Pod) -> Callers:
    """What PeerAuthentications say of connections without an identity."""
    around = state.peers_around(pod.namespace)
    own = peers.governing(pod, around)
    scopes = _scopes(own, around, state.mesh.root_namespace)
    deciding = next((each for each in scopes if each.spec.mtls.mode != "UNSET"), None)
    ports = {port: mtls.mode for port, mtls in own.spec.port_level_mtls.items()} if own else {}
    is_strict = deciding is not None and deciding.spec.mtls.mode == "STRICT"
    differing = {port: mode for port, mode in ports.items() if mode != "UNSET" and (mode == "STRICT") != is_strict}
    return Callers(is_strict, f"PeerAuthentication {_full(deciding)}" if deciding else "", differing)


def policies_of(state: ClusterState, pods: Sequence[Pod], waypoints: Collection[str]) -> list[Policy]:
    """Every AuthorizationPolicy that is for any of the pods or of these waypoints, in the order in which they decide.

    Of a waypoint's, what is said is what becomes of it at node proxies.
    """
    counted: Counter[str] = Counter()
    root = state.mesh.root_namespace
    found = {policy.full_name: policy for policy in state.policies.values() if _is_at(policy, waypoints)}
    for pod in pods:
        here = {policy.full_name: policy for policy in state.policies_on(pod)}
        counted.update(here.keys())
        found |= here
    described = [
        Policy(
            name,
            policy.spec.action,
            "waypoint" if _is_at(policy, waypoints) else _scope(policy.is_of_mesh(root), policies.is_listed(policy)),
            policy.is_dry_run,
            policies.convert(policy).shortfalls,
            len(pods) if _is_at(policy, waypoints) else counted[name],
        )
        for name, policy in found.items()
    ]
    return sorted(described, key=lambda policy: (_ORDER.index(policy.action), policy.name))


def _is_at(policy: AuthorizationPolicy, waypoints: Collection[str]) -> bool:
    gateways = (target.name for target in policy.spec.targets if target.kind == "Gateway")
    return any(f"{policy.metadata.namespace}/{name}" in waypoints for name in gateways)


def _by_which_label(pod: Pod, namespace_labels: Mapping[str, str]) -> str:
    label = wire.DATAPLANE_MODE_LABEL
    if pod.labels.get(label):
        return f"by its label {label}={pod.labels[label]}"
    return f"by the label {label}={namespace_labels.get(label)} of namespace {pod.namespace}"


def _scopes(
    own: PeerAuthentication | None, around: Sequence[PeerAuthentication], root_namespace: str
) -> list[PeerAuthentication]:
    """The narrowest first, and of each scope the oldest."""
    wide = sorted(filter(peers.is_wide, around), key=lambda peer: peer.age)
    of_mesh = next((each for each in wide if each.is_of_mesh(root_namespace)), None)
    of_namespace = next((each for each in wide if not each.is_of_mesh(root_namespace)), None)
    firsts = (of_namespace, of_mesh)
    return [each for each in (own, *firsts) if each is not None]


def _full(peer: PeerAuthentication) -> str:
    return f"{peer.metadata.namespace}/{peer.metadata.name}"


def _scope(is_of_mesh: bool, is_listed: bool) -> str:
    if is_listed:
        return "workloads"
    return "mesh" if is_of_mesh else "namespace"
