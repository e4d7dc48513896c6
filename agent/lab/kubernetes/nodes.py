"""The lab's nodes as objects of the API server: registered, kept alive, and removed with the lab."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import ENDPOINT_SLICE, LEASE, NODE, Cluster, Object
from agent.lab.addresses import MOST_PODS, NodePlan
from agent.lab.kubernetes import endpoints, streaming
from agent.lab.kubernetes.facts import CAPACITY
from agent.lab.kubernetes.states import text

logger = logging.getLogger(__name__)

LAB_LABEL = "weft.io/lab"
LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40  # without a heartbeat for so long, the cluster takes a node for dead
_HEARTBEAT_SECONDS = 10.0
_STATUS_SECONDS = 60.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def node_object(node: NodePlan, lab: str, now: datetime) -> Object:
    """The node, ready for pods."""
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    labels = {
        LAB_LABEL: lab,
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": str(node.pods_v4), "podCIDRs": [str(node.pods_v4), str(node.pods_v6)]},
        "status": node_status(node, architecture, now, since=now),
    }


def node_status(node: NodePlan, architecture: str, now: datetime, *, since: datetime) -> Object:
    """since: from when the node has been as it is."""
    resources = {**CAPACITY, "pods": str(MOST_PODS), "ephemeral-storage": "100Gi"}
    addresses = [{"type": "InternalIP", "address": address} for address in node.address.texts]
    return {
        "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": streaming.PORT}},
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", now, since),
            _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", now, since),
            _condition("PIDPressure", "False", "KubeletHasSufficientPID", now, since),
            _condition("Ready", "True", "KubeletReady", now, since),
        ],
        "nodeInfo": {
            **dict.fromkeys(("machineID", "systemUUID", "bootID", "kubeProxyVersion"), ""),
            "architecture": architecture,
            "operatingSystem": "linux",
            "kernelVersion": platform.release(),
            "osImage": "a node of a Weft lab",
            "containerRuntimeVersion": "runc://1",
            "kubeletVersion": "weft-lab",
        },
    }


def lease(node: str, uid: str, now: datetime) -> Object:
    """The node's sign of life; it goes with the node."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micro_time(now)},
    }


def micro_time(moment: datetime) -> str:
    """A moment as a Lease has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Nodes:
    """Of one lab. `register` comes first, then keep_alive()."""

    def __init__(self, cluster: Cluster, nodes: Sequence[NodePlan], lab: str) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._lab = lab
        self._since = datetime.now(UTC)

    async def register(self) -> None:
        """Make the objects, and the endpoint of the API server's service; ConflictError when a name is another's."""
        for node in self._nodes:
            stored = await self._registered(node)
            await _put(self._cluster, lease(node.name, stored["metadata"]["uid"], datetime.now(UTC)))
        try:
            await self._cluster.create(ENDPOINT_SLICE, endpoints.api_slice())
        except ConflictError:
            logger.info("the API server's service has its endpoint already")

    async def keep_alive(self) -> None:
        """Heartbeats, for ever. One that fails is made up for by the next."""
        next_status = time.monotonic() + _STATUS_SECONDS
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            is_due = time.monotonic() >= next_status
            next_status = time.monotonic() + _STATUS_SECONDS if is_due else next_status
            for node in self._nodes:
                try:
                    await self._beat(node, with_status=is_due)
                except WeftError as exc:
                    logger.warning("no heartbeat", extra={"node": node.name, "reason": exc})

    async def _beat(self, node: NodePlan, *, with_status: bool) -> None:
        now = datetime.now(UTC)
        renewal = {"spec": {"renewTime": micro_time(now)}}
        await self._cluster.patch(LEASE, LEASE_NAMESPACE, node.name, renewal)
        if with_status:
            whole = node_object(node, self._lab, self._since)
            architecture = whole["status"]["nodeInfo"]["architecture"]
            status = node_status(node, architecture, now, since=self._since)
            await self._cluster.patch(NODE, "", node.name, {"status": {"conditions": status["conditions"]}})

    async def _registered(self, node: NodePlan) -> Object:
        wanted = node_object(node, self._lab, self._since)
        try:
            return await self._cluster.create(NODE, wanted)
        except ConflictError:  # of the lab before, which could not remove it
            await check_names(self._cluster, [node.name], self._lab)
        return await self._cluster.patch(NODE, "", node.name, {"status": wanted["status"]})


async def check_names(cluster: Cluster, names: Iterable[str], lab: str) -> None:
    """ConflictError when a node of one of these names is there, and is not the lab's."""
    for name in names:
        with contextlib.suppress(NotFoundError):
            if not _is_of(await cluster.get(NODE, "", name), lab):
                raise ConflictError(
                    f"the cluster has a node {name} that is not lab {lab}'s; accepted is one without it"
                )


async def withdraw(cluster: Cluster, names: Iterable[str], lab: str) -> None:
    """Remove what register() has made, as far as it is this lab's; the cluster collects the nodes' pods then."""
    for name in names:
        try:
            if _is_of(await cluster.get(NODE, "", name), lab):
                await cluster.delete(NODE, "", name)
                await cluster.delete(LEASE, LEASE_NAMESPACE, name)
        except NotFoundError:
            continue
    metadata = endpoints.api_slice()["metadata"]
    try:
        await cluster.delete(ENDPOINT_SLICE, metadata["namespace"], metadata["name"])
    except NotFoundError:
        return


def _is_of(node: Object, lab: str) -> bool:
    labels: dict[str, str] = node["metadata"].get("labels") or {}
    return labels.get(LAB_LABEL) == lab


async def _put(cluster: Cluster, new: Object) -> None:
    metadata = new["metadata"]
    try:
        await cluster.create(LEASE, new)
    except ConflictError:
        patch = {"metadata": {"ownerReferences": metadata["ownerReferences"]}, "spec": new["spec"]}
        await cluster.patch(LEASE, metadata["namespace"], metadata["name"], patch)


def _condition(type: str, status: str, reason: str, now: datetime, since: datetime) -> Object:
    times = {"lastHeartbeatTime": text(now), "lastTransitionTime": text(since)}
    return {"type": type, "status": status, "reason": reason, "message": reason, **times}
