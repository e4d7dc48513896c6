"""The webhook's registration is made, put right when it is changed, and tried again when it is refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import kube
from agent.controller.registration import KIND, NAME, change, keep, wanted
from agent.errors import ForbiddenError

WANTED = wanted("root", "Fail")
STORED = {**WANTED, "metadata": {"name": NAME, "uid": "1", "resourceVersion": "1"}}


class Refusing(kube.StateDirectory):
    """An API server that lets nobody register, so many times."""

    refusals = 0

    async def create(self, kind: kube.Kind, new: kube.Object) -> kube.Object:
        if self.refusals:
            self.refusals -= 1
            raise ForbiddenError("not yours")
        return await super().create(kind, new)


@pytest.fixture
def cluster(tmp_path: Path) -> Refusing:
    (tmp_path / KIND.plural).mkdir()
    return Refusing(tmp_path)


@contextlib.asynccontextmanager
async def kept(cluster: kube.Cluster, pauses: list[float] | None = None) -> AsyncIterator[None]:
    async def sleep(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)

    task = asyncio.create_task(keep(cluster, WANTED, sleep))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def registered(cluster: kube.Cluster) -> kube.Object:
    """The registration, once it is as it is wanted."""
    async with contextlib.aclosing(cluster.watch([KIND])) as changes:
        async for event in changes:
            found = event.object
            if found is not None and event.type is not kube.ChangeType.DELETED and change(found, WANTED) is None:
                return found
    raise AssertionError("a watch has no end")


def test_it_leads_to_the_controller_s_service_and_trusts_the_mesh_s_root() -> None:
    [hook] = WANTED["webhooks"]
    assert base64.b64decode(hook["clientConfig"]["caBundle"]) == b"root"
    assert hook["clientConfig"]["service"] == {
        "namespace": "istio-system",
        "name": "istiod",
        "path": "/validate",
        "port": 443,
    }


def test_what_others_have_added_beside_it_is_theirs() -> None:
    labelled = {**STORED, "metadata": {**STORED["metadata"], "labels": {"team": "mesh"}}}
    assert change(labelled, WANTED) is None


def test_a_restricted_selector_is_put_right() -> None:
    restricted = {**STORED, "webhooks": [{**WANTED["webhooks"][0], "objectSelector": {"matchLabels": {"a": "b"}}}]}
    assert change(restricted, WANTED) == {"webhooks": WANTED["webhooks"]}


async def test_it_is_made_where_there_is_none(cluster: Refusing) -> None:
    async with kept(cluster):
        assert (await registered(cluster))["metadata"]["name"] == NAME


async def test_it_is_put_right_after_a_change_and_made_again_after_a_deletion(cluster: Refusing) -> None:
    async with kept(cluster):
        first = await registered(cluster)
        await cluster.patch(KIND, "", NAME, {"webhooks": []})
        second = await registered(cluster)
        await cluster.delete(KIND, "", NAME)
        third = await registered(cluster)
    assert first["metadata"]["uid"] == second["metadata"]["uid"] != third["metadata"]["uid"]


async def test_in_its_own_cluster_it_belongs_to_the_mesh_s_namespace(cluster: Refusing, tmp_path: Path) -> None:
    (tmp_path / kube.NAMESPACE.plural).mkdir()
    namespace = await cluster.create(kube.NAMESPACE, {"metadata": {"name": "istio-system"}})
    await cluster.create(KIND, WANTED)  # by a controller that did not know of owners yet
    task = asyncio.create_task(keep(cluster, WANTED, is_owned=True))
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "istio-system", "uid": namespace["metadata"]["uid"]}
    owned = {**WANTED, "metadata": {"name": NAME, "ownerReferences": [owner]}}
    try:
        async with contextlib.aclosing(cluster.watch([KIND])) as changes, asyncio.timeout(10):
            async for event in changes:
                if event.object is not None and change(event.object, owned) is None:
                    break
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_another_mesh_s_registration_stays_as_it_is(cluster: Refusing) -> None:
    other = await cluster.create(KIND, {"metadata": {"name": "istio-validator-istio-system"}, "webhooks": []})
    async with kept(cluster):
        await registered(cluster)
    assert other in await cluster.list(KIND)


async def test_a_refusal_is_tried_again_at_growing_intervals(cluster: Refusing) -> None:
    cluster.refusals = 3
    pauses: list[float] = []
    async with kept(cluster, pauses):
        await registered(cluster)
    assert len(pauses) == 3
    assert pauses[0] < pauses[1] < pauses[2]
