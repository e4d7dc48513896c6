"""The pods and namespaces of the cluster, as the watch tells them.

Reads only the few fields that enrolment needs, leniently: a field that only others understand
must not keep a pod out of the mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent import kube
from agent.kube import Change, ChangeType, Object
from agent.model import NodeName, Pod, PodUid, sidecar_of
from agent.node.probe_ports import probe_ports


@dataclass(slots=True)
class Inventory:
    """What is known now."""

    pods: dict[PodUid, Pod] = field(default_factory=dict)
    namespace_labels: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        """Take one change of a watch over Pods and Namespaces; of another kind it takes nothing."""
        if change.kind is None or change.object is None:
            return
        is_gone = change.type is ChangeType.DELETED
        if change.kind == kube.POD:
            pod = read_pod(change.object)
            if is_gone:
                self.pods.pop(pod.uid, None)
            else:
                self.pods[pod.uid] = pod
        elif change.kind == kube.NAMESPACE:
            name = change.object["metadata"]["name"]
            if is_gone:
                self.namespace_labels.pop(name, None)
            else:
                self.namespace_labels[name] = change.object["metadata"].get("labels") or {}

    def living(self, node: NodeName) -> dict[PodUid, Pod]:
        """The node's pods that have not finished."""
        return {uid: pod for uid, pod in self.pods.items() if pod.node == node and not pod.is_finished}


def read_pod(found: Object) -> Pod:
    """The pod in a v1 Pod object."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    addresses = [each.get("ip") for each in status.get("podIPs") or []] or [status.get("podIP")]
    return Pod(
        uid=PodUid(metadata["uid"]),
        name=metadata["name"],
        namespace=metadata.get("namespace") or "default",
        service_account=spec.get("serviceAccountName") or "default",
        node=NodeName(spec.get("nodeName") or ""),
        addresses=tuple(address for address in addresses if address),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        host_network=bool(spec.get("hostNetwork")),
        is_finished=status.get("phase") in ("Succeeded", "Failed"),
        is_terminating=bool(metadata.get("deletionTimestamp")),
        sidecar=sidecar_of(metadata.get("annotations") or {}, (each.get("name") for each in containers)),
        probe_ports=probe_ports(spec),
    )
