"""What the page shows of one workload, and of every policy, as JSON. Pure rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import yaml

from agent import model
from agent.api.security import AuthorizationPolicy, PeerAuthentication
from agent.controller import overview, peers, policies
from agent.controller.cluster import ClusterState, Key, selects
from agent.controller.dashboard.graph import is_enrolled
from agent.controller.resources import Resource

Json = dict[str, object]


def workload(state: ClusterState, pods: Sequence[model.Pod], trust_domain: str) -> Json:
    """A workload's pods, the Services that select any of them, and the policies that apply to any of them."""
    services = {
        "/".join(key)
        for pod in pods
        for key, service in state.services_in(pod.namespace).items()
        if selects(service, pod)
    }
    applying = {name for pod in pods for name in _applying(state, pod)}
    return {
        "pods": [_pod(pod, trust_domain) for pod in pods],
        "services": sorted(services),
        "policies": sorted(applying),
    }


def policy_list(
    state: ClusterState,
    shortfalls_of: Callable[[Key], tuple[str, ...]],
    published: Mapping[str, Resource],
    verdicts: Mapping[str, Mapping[str, float]],
) -> list[Json]:
    """Every policy as its author wrote it, what of it is not enforced, and how often it decided."""
    rows = overview.policy_rows(state, shortfalls_of, published)
    return [
        {
            **row,
            "id": _id(str(row["kind"]), str(row["namespace"]), str(row["name"])),
            "spec": _written(state, row),
            "verdicts": dict(verdicts.get(str(row["resource"]), {})),
        }
        for row in rows
    ]


def _id(kind: str, namespace: str, name: str) -> str:
    return f"{kind} {namespace}/{name}"


def _pod(pod: model.Pod, trust_domain: str) -> Json:
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "node": pod.node,
        "addresses": list(pod.addresses),
        "identity": str(pod.identity(trust_domain)),
        "is_ready": pod.is_ready,
        "is_enrolled": is_enrolled(pod),
    }


def _applying(state: ClusterState, pod: model.Pod) -> Iterable[str]:
    listed, root = set(state.listed_policies(pod)), state.mesh.root_namespace
    for (namespace, name), policy in state.policies.items():
        is_here = policy.is_of_mesh(root) or namespace == pod.namespace
        if policy.full_name in listed or (is_here and not policies.is_listed(policy)):
            yield _id("AuthorizationPolicy", namespace, name)
    for (namespace, name), peer in state.peers.items():
        is_here = peer.is_of_mesh(root) or namespace == pod.namespace
        if is_here and peers.governs(peer, pod, root):
            yield _id("PeerAuthentication", namespace, name)


def _written(state: ClusterState, row: Json) -> str:
    key = (str(row["namespace"]), str(row["name"]))
    found: AuthorizationPolicy | PeerAuthentication
    found = state.policies[key] if row["kind"] == "AuthorizationPolicy" else state.peers[key]
    spec = found.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return yaml.safe_dump(spec, sort_keys=False, default_flow_style=False, allow_unicode=True)
