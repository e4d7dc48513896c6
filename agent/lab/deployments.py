"""Deployments without a controller-manager: which pods to make and which to end. Rules only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.api.kubernetes import Deployment, Pod, to_pod
from agent.kube import Object

HASH_LABEL = "pod-template-hash"
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes: no word can come of them
_SUFFIX_LENGTH = 5


@dataclass(frozen=True, slots=True)
class Create:
    """Make this pod."""

    pod: Object


@dataclass(frozen=True, slots=True)
class End:
    """Let this pod terminate."""

    pod: Pod


def template_hash(deployment: Object) -> str:
    """Ten letters that change with the pod template."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return _letters(hashlib.sha256(text.encode()).digest(), 10)


def owned_by(deployment: Object, pods: Iterable[Pod]) -> list[Pod]:
    """The deployment's pods, of all its templates, that are not ending."""
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    return [
        pod
        for pod in pods
        if pod.metadata.namespace == namespace
        and not pod.metadata.deletion_timestamp
        and any(
            owner.kind == "ReplicaSet" and owner.name == f"{name}-{pod.metadata.labels.get(HASH_LABEL)}"
            for owner in pod.metadata.owner_references
        )
    ]


def plan(typed: Deployment, stored: Object, pods: Sequence[Pod], entropy: bytes) -> list[Create | End]:
    """Steps towards the wanted replicas of the present template.

    Pods of an older template end once those of the present one are all ready, so that the
    service is never without an endpoint. `entropy` makes the names new, 16 bytes are enough.
    """
    present = template_hash(stored)
    owned = owned_by(stored, pods)
    current = [pod for pod in owned if pod.metadata.labels.get(HASH_LABEL) == present]
    old = [pod for pod in owned if pod.metadata.labels.get(HASH_LABEL) != present]
    missing = typed.spec.replicas - len(current)
    steps: list[Create | End] = [
        Create(_pod(stored, present, hashlib.sha256(entropy + bytes([i % 256, i // 256])).digest()))
        for i in range(missing)
    ]
    if missing < 0:
        newest_last = sorted(current, key=lambda pod: (not pod.status.is_ready, pod.metadata.creation_timestamp))
        steps += [End(pod) for pod in newest_last[missing:]]
    if sum(pod.status.is_ready for pod in current) >= typed.spec.replicas:
        steps += [End(pod) for pod in old]
    return steps


def orphans(deployments: Iterable[Deployment], pods: Iterable[Pod]) -> list[End]:
    """Pods whose deployment is gone."""
    known = {(found.metadata.namespace, found.metadata.name) for found in deployments}
    return [
        End(pod)
        for pod in pods
        if not pod.metadata.deletion_timestamp
        and pod.metadata.labels.get(HASH_LABEL)
        and (mesh := to_pod(pod)).workload_type == "deployment"
        and (mesh.namespace, mesh.workload_name) not in known
    ]


def status(typed: Deployment, stored: Object, pods: Sequence[Pod]) -> Object:
    """status of the deployment as its pods are now."""
    owned = owned_by(stored, pods)
    present = template_hash(stored)
    ready = sum(pod.status.is_ready for pod in owned)
    return {
        "replicas": len(owned),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "updatedReplicas": sum(pod.metadata.labels.get(HASH_LABEL) == present for pod in owned),
        "unavailableReplicas": max(typed.spec.replicas - ready, 0),
    }


def _pod(deployment: Object, present: str, entropy: bytes) -> Object:
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    replica_set = f"{metadata['name']}-{present}"
    template_metadata = template.get("metadata") or {}
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": replica_set,
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{replica_set}-{_letters(entropy, _SUFFIX_LENGTH)}",
            "namespace": metadata["namespace"],
            "labels": {**(template_metadata.get("labels") or {}), HASH_LABEL: present},
            "annotations": dict(template_metadata.get("annotations") or {}),
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def _letters(digest: bytes, length: int) -> str:
    return "".join(_NAME_LETTERS[byte % len(_NAME_LETTERS)] for byte in digest[:length])
