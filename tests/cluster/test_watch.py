"""Following a real API server through everything that breaks a watch."""

import asyncio
import base64
import contextlib
import json
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agent.apiserver.cluster import api_server
from agent.apiserver.requests import PAGE_SIZE
from agent.kube import Change, ChangeType, Cluster, Kind, Object
from tests.support.cluster import ControlPlane
from tests.support.cluster_faults import Faults, faults_before

CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
EVENT = Kind("v1", "Event", "events")  # the one kind that the API server reads from etcd each time, without a cache
UNKNOWN = Kind("example.test/v1", "Thing", "things")
PATIENCE_SECONDS = 20


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with api_server(plane.kubeconfig) as server:
        yield server


@pytest.fixture
async def faults(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Faults]:
    async with faults_before(plane, tmp_path) as proxy:
        yield proxy


class Heard:
    """The changes of one namespace, one at a time; a control plane writes objects of its own into others."""

    def __init__(self, changes: AsyncGenerator[Change, None], namespace: str) -> None:
        self._changes, self._namespace = changes, namespace

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for change in self._changes:
                if change.object is None:
                    return change.type.name, ""
                metadata = change.object["metadata"]
                if metadata["namespace"] == self._namespace and metadata["name"] != "kube-root-ca.crt":
                    return change.type.name, metadata["name"]
        raise AssertionError("the watch ended")

    async def until_synced(self) -> list[str]:
        """The names of what was there, sorted."""
        names = []
        while (heard := await self.next()) != (ChangeType.SYNCED.name, ""):
            assert heard[0] == ChangeType.ADDED.name
            names.append(heard[1])
        return sorted(names)


@contextlib.asynccontextmanager
async def following(kubeconfig: Path, namespace: str, *kinds: Kind) -> AsyncIterator[Heard]:
    async with api_server(kubeconfig) as server, contextlib.aclosing(server.watch(kinds)) as changes:
        yield Heard(changes, namespace)


def a_config_map(namespace: str, name: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "data": {}}


def an_event(namespace: str, name: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "involvedObject": {"namespace": namespace}}


async def forget_the_past(plane: ControlPlane) -> None:
    """Compact etcd: whoever asks for an older version gets 410."""
    anything = base64.b64encode(b"/").decode()
    async with aiohttp.ClientSession(plane.etcd_url, raise_for_status=True) as etcd:
        async with etcd.post("/v3/kv/range", json={"key": anything}) as answer:
            revision = json.loads(await answer.read())["header"]["revision"]
        async with etcd.post("/v3/kv/compaction", json={"revision": revision, "physical": True}):
            pass


async def test_what_exists_then_every_change(plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    await cluster.create(CONFIG_MAP, a_config_map(namespace, "web"))
    async with following(plane.kubeconfig, namespace, CONFIG_MAP, EVENT) as heard:
        assert await heard.until_synced() == ["web"]
        await cluster.create(EVENT, an_event(namespace, "begun"))
        assert await heard.next() == ("ADDED", "begun")
        await cluster.patch(CONFIG_MAP, namespace, "web", {"data": {"colour": "blue"}})
        assert await heard.next() == ("MODIFIED", "web")
        await cluster.delete(CONFIG_MAP, namespace, "web")
        assert await heard.next() == ("DELETED", "web")


async def test_a_list_has_every_page_and_each_object_whole(cluster: Cluster, namespace: str) -> None:
    names = {f"number-{number}" for number in range(PAGE_SIZE + 1)}
    await asyncio.gather(*(cluster.create(CONFIG_MAP, a_config_map(namespace, name)) for name in names))
    found = [item for item in await cluster.list(CONFIG_MAP) if item["metadata"]["namespace"] == namespace]
    assert {item["metadata"]["name"] for item in found} - {"kube-root-ca.crt"} == names
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "ConfigMap")}
    assert not any("managedFields" in item["metadata"] for item in found)


async def test_a_list_whose_pages_expire_is_read_at_once(
    plane: ControlPlane, cluster: Cluster, faults: Faults, namespace: str
) -> None:
    names = {f"number-{number}" for number in range(PAGE_SIZE + 1)}
    await asyncio.gather(*(cluster.create(EVENT, an_event(namespace, name)) for name in names))

    async def expire(request: web.Request) -> None:
        if "continue" in request.query:
            await cluster.create(EVENT, an_event(namespace, "late"))
            await forget_the_past(plane)

    faults.before = expire
    async with api_server(faults.kubeconfig) as server:
        found = [item for item in await server.list(EVENT) if item["metadata"]["namespace"] == namespace]
    assert {item["metadata"]["name"] for item in found} == names | {"late"}
    assert faults.seen == ["list", "page", "list"]


async def test_a_watch_that_breaks_goes_on_without_a_new_list(cluster: Cluster, faults: Faults, namespace: str) -> None:
    await cluster.create(CONFIG_MAP, a_config_map(namespace, "web"))
    async with following(faults.kubeconfig, namespace, CONFIG_MAP) as heard:
        assert await heard.until_synced() == ["web"]
        for round_ in range(3):
            await faults.drop_watch()
            await cluster.create(CONFIG_MAP, a_config_map(namespace, f"while-away-{round_}"))
            assert await heard.next() == ("ADDED", f"while-away-{round_}")
        await cluster.delete(CONFIG_MAP, namespace, "web")
        assert await heard.next() == ("DELETED", "web")
    assert faults.seen.count("list") == 1


async def test_an_event_that_is_cut_off_comes_again(cluster: Cluster, faults: Faults, namespace: str) -> None:
    async with following(faults.kubeconfig, namespace, CONFIG_MAP) as heard:
        await heard.until_synced()
        await faults.drop_watch()
        faults.cuts_next_line = True
        await cluster.create(CONFIG_MAP, a_config_map(namespace, "web"))
        assert await heard.next() == ("ADDED", "web")
    assert (faults.seen.count("list"), faults.cuts_next_line) == (1, False)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_watch_that_is_refused_is_asked_for_again(
    cluster: Cluster, faults: Faults, namespace: str, status: int
) -> None:
    async with following(faults.kubeconfig, namespace, CONFIG_MAP) as heard:
        await heard.until_synced()
        faults.refusals = [status, status]
        await faults.drop_watch()
        await cluster.create(CONFIG_MAP, a_config_map(namespace, "web"))
        assert await heard.next() == ("ADDED", "web")
    assert (faults.seen.count("list"), faults.refusals) == (1, [])


async def test_what_exists_is_told_once_the_first_list_succeeds(
    cluster: Cluster, faults: Faults, namespace: str
) -> None:
    await cluster.create(CONFIG_MAP, a_config_map(namespace, "web"))
    faults.refusals = [500, 403, 429]
    async with following(faults.kubeconfig, namespace, CONFIG_MAP) as heard:
        assert await heard.until_synced() == ["web"]


async def test_after_its_version_has_expired_it_tells_what_is_gone_and_what_is_new(
    plane: ControlPlane, cluster: Cluster, faults: Faults, namespace: str
) -> None:
    for name in ("stays", "goes", "again"):
        await cluster.create(EVENT, an_event(namespace, name))
    async with following(faults.kubeconfig, namespace, EVENT) as heard:
        assert await heard.until_synced() == ["again", "goes", "stays"]
        faults.refusals = [503]
        await faults.drop_watch()
        for name in ("goes", "again"):
            await cluster.delete(EVENT, namespace, name)
        for name in ("again", "new"):
            await cluster.create(EVENT, an_event(namespace, name))
        await forget_the_past(plane)
        heard_after = [await heard.next() for _ in range(4)]
        assert sorted(heard_after) == [("ADDED", "again"), ("ADDED", "new"), ("DELETED", "again"), ("DELETED", "goes")]
        assert heard_after.index(("DELETED", "again")) < heard_after.index(("ADDED", "again"))
        await cluster.patch(EVENT, namespace, "stays", {"message": "still"})
        assert await heard.next() == ("MODIFIED", "stays")
    assert faults.seen.count("list") == 2


async def test_a_watch_asks_whether_the_other_end_is_still_there(
    cluster: Cluster, faults: Faults, namespace: str
) -> None:
    async with following(faults.kubeconfig, namespace, CONFIG_MAP) as heard:
        await heard.until_synced()
        await cluster.create(CONFIG_MAP, a_config_map(namespace, "web"))
        assert await heard.next() == ("ADDED", "web")
        command = ["ss", "-tnoH", "state", "established", "dst", faults.address]
        sockets = await asyncio.to_thread(subprocess.check_output, command, text=True)
    assert "timer:(keepalive," in sockets


async def test_a_kind_that_is_not_installed_has_no_objects(plane: ControlPlane, namespace: str) -> None:
    async with following(plane.kubeconfig, namespace, UNKNOWN) as heard:
        assert await heard.until_synced() == []
