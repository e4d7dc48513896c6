"""Nodes as the cluster knows them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.errors import ConflictError, NotFoundError
from agent.kube import ENDPOINT_SLICE, LEASE, NODE, Kind, Object, merge
from agent.lab.addresses import MOST_PODS, node_plans
from agent.lab.kubernetes.nodes import Nodes, lease, node_object, withdraw

PLANS = node_plans(2)
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


class PretendedCluster:
    """Holds objects by kind, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}

    async def create(self, kind: Kind, new: Object) -> Object:
        key = kind.name, new["metadata"].get("namespace", ""), new["metadata"]["name"]
        if key in self.objects:
            raise ConflictError("it is there")
        self.objects[key] = merge(new, {"metadata": {"uid": f"uid of {key[2]}"}})
        return self.objects[key]

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        try:
            return self.objects[kind.name, namespace, name]
        except KeyError as exc:
            raise NotFoundError(name) from exc

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        self.objects[kind.name, namespace, name] = merge(await self.get(kind, namespace, name), patch)
        return self.objects[kind.name, namespace, name]

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        await self.get(kind, namespace, name)
        del self.objects[kind.name, namespace, name]

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for found, _, name in self.objects if found == kind.name)


async def registered() -> PretendedCluster:
    cluster = PretendedCluster()
    await Nodes(cluster, PLANS, "lab").register()  # type: ignore[arg-type]
    return cluster


def test_a_node_is_ready_for_as_many_pods_as_a_kubelet_takes() -> None:
    found = node_object(PLANS[0], "lab", NOW)
    assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert found["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.70.0.11"}
    assert found["spec"]["podCIDR"] == "10.244.1.0/24"
    assert found["status"]["allocatable"]["pods"] == str(MOST_PODS)
    conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert conditions == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}


def test_a_node_s_sign_of_life_goes_with_the_node() -> None:
    found = lease("node-1", "u-1", NOW)
    assert found["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert found["spec"]["renewTime"] == "2026-01-31T12:00:00.000000Z"


async def test_nodes_are_registered_with_their_leases_and_the_api_server_s_endpoint() -> None:
    cluster = await registered()
    assert cluster.names(NODE) == cluster.names(LEASE) == ["node-1", "node-2"]
    assert cluster.names(ENDPOINT_SLICE) == ["kubernetes"]


async def test_the_nodes_that_the_lab_left_behind_are_its_own_again() -> None:
    cluster = await registered()
    await cluster.patch(NODE, "", "node-1", {"status": {"conditions": []}})
    await Nodes(cluster, PLANS, "lab").register()  # type: ignore[arg-type]
    assert (await cluster.get(NODE, "", "node-1"))["status"]["conditions"] != []


async def test_another_s_node_is_left_alone() -> None:
    cluster = await registered()
    with pytest.raises(ConflictError, match="a node node-1 that is not lab other's"):
        await Nodes(cluster, PLANS, "other").register()  # type: ignore[arg-type]
    await withdraw(cluster, ["node-1"], "other")  # type: ignore[arg-type]
    assert cluster.names(NODE) == ["node-1", "node-2"]


async def test_nothing_is_left_of_nodes_that_are_withdrawn() -> None:
    cluster = await registered()
    await withdraw(cluster, ["node-1", "node-2", "node-3"], "lab")  # type: ignore[arg-type]
    assert cluster.objects == {}
