import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.errors import ConflictError, InvalidObjectError, NotFoundError, UnavailableError
from agent.kube import (
    CONFIG_MAP,
    NAMESPACE,
    POD,
    SYSTEM_CONFIG_MAP,
    Change,
    ChangeType,
    Object,
    StateDirectory,
    merge,
)


def named(name: str, **more: object) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, **more}


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory.create_at(tmp_path)


def test_a_merge_patch_follows_its_rfc() -> None:
    target = {"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 1}
    patch = {"a": {"b": None, "x": {"y": None, "z": 1}}, "d": [3], "e": {"f": 1}}
    assert merge(target, patch) == {"a": {"c": 2, "x": {"z": 1}}, "d": [3], "e": {"f": 1}}


async def test_a_created_object_has_uid_and_version(state: StateDirectory) -> None:
    stored = await state.create(POD, named("web"))
    assert (stored["apiVersion"], stored["kind"], stored["metadata"]["resourceVersion"]) == ("v1", "Pod", "1")
    assert await state.list(POD) == [stored] == [await state.get(POD, "shop", "web")]
    with pytest.raises(ConflictError):
        await state.create(POD, named("web"))


async def test_a_patch_without_a_change_makes_no_new_version(state: StateDirectory) -> None:
    await state.create(POD, named("web", spec={"nodeName": "node-1"}))
    same = await state.patch(POD, "shop", "web", {"spec": {"nodeName": "node-1"}})
    new = await state.patch(POD, "shop", "web", {"spec": {"nodeName": "node-2"}})
    assert same["metadata"]["resourceVersion"] == "1"
    assert int(new["metadata"]["resourceVersion"]) > 1


async def test_a_patch_for_another_object_of_that_name_is_a_conflict(state: StateDirectory) -> None:
    await state.create(POD, named("web"))
    with pytest.raises(ConflictError):
        await state.patch(POD, "shop", "web", {}, uid="of the one before")
    with pytest.raises(NotFoundError):
        await state.patch(POD, "shop", "db", {})


async def test_a_deleted_object_is_gone(state: StateDirectory) -> None:
    await state.create(POD, named("web"))
    await state.delete(POD, "shop", "web")
    assert await state.list(POD) == []
    with pytest.raises(NotFoundError):
        await state.delete(POD, "shop", "web")


@pytest.mark.parametrize("name", ["a/b", "a_b", ".a", "../a"])
async def test_a_name_cannot_leave_its_folder(state: StateDirectory, name: str) -> None:
    with pytest.raises(InvalidObjectError):
        await state.get(POD, "shop", name)


@contextlib.asynccontextmanager
async def watching(state: StateDirectory) -> AsyncIterator[AsyncIterator[Change]]:
    changes = state.watch([POD, NAMESPACE])
    async with contextlib.aclosing(changes):  # type: ignore[type-var]
        yield changes


async def following(changes: AsyncIterator[Change]) -> tuple[ChangeType, str]:
    change = await asyncio.wait_for(anext(changes), 5)
    return change.type, change.object["metadata"]["name"] if change.object else ""


async def test_a_watch_brings_what_exists_then_every_change(state: StateDirectory) -> None:
    await state.create(POD, named("web"))
    async with watching(state) as changes:
        assert await following(changes) == (ChangeType.ADDED, "web")
        assert await following(changes) == (ChangeType.SYNCED, "")
        await state.create(NAMESPACE, {"metadata": {"name": "shop"}})
        assert await following(changes) == (ChangeType.ADDED, "shop")
        await state.patch(POD, "shop", "web", {"status": {"phase": "Running"}})
        assert await following(changes) == (ChangeType.MODIFIED, "web")
        await state.delete(POD, "shop", "web")
        assert await following(changes) == (ChangeType.DELETED, "web")


async def test_an_object_replaced_by_another_is_deleted_first(state: StateDirectory, tmp_path: Path) -> None:
    old = await state.create(POD, named("web"))
    async with watching(state) as changes:
        await following(changes)
        await following(changes)
        new = {**old, "metadata": {**old["metadata"], "uid": "another", "resourceVersion": "9"}}
        (tmp_path / "pods" / ".new").write_text(json.dumps(new))
        (tmp_path / "pods" / ".new").rename(tmp_path / "pods" / "shop_web.json")
        assert await following(changes) == (ChangeType.DELETED, "web")
        assert await following(changes) == (ChangeType.ADDED, "web")


async def test_a_file_that_cannot_be_read_leaves_the_last_good_state(state: StateDirectory, tmp_path: Path) -> None:
    await state.create(POD, named("web"))
    async with watching(state) as changes:
        await following(changes)
        await following(changes)
        (tmp_path / "pods" / "shop_web.json").write_text("{")
        await state.create(POD, named("db"))
        assert await following(changes) == (ChangeType.ADDED, "db")


def write_deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def write_numbers(path: Path) -> None:
    path.write_text('{"metadata": {"name": 1, "uid": 2, "resourceVersion": 3}}')


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path), write_deep, write_numbers],
    ids=["pipe", "folder", "symlink to itself", "deep", "numbers for texts"],
)
async def test_a_file_that_is_no_object_stops_nobody(
    state: StateDirectory, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "pods" / "a_odd.json")
    await state.create(POD, named("web"))
    async with asyncio.timeout(5), contextlib.aclosing(state.watch([POD])) as changes:
        seen = [await anext(changes), await anext(changes)]
    assert [change.type for change in seen] == [ChangeType.ADDED, ChangeType.SYNCED]


async def test_no_state_directory_is_unavailable(state: StateDirectory, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is this a state directory"):
        async with watching(StateDirectory(tmp_path / "none")) as changes:
            await following(changes)


async def test_a_state_directory_that_is_removed_is_unavailable(state: StateDirectory, tmp_path: Path) -> None:
    async with watching(state) as changes:
        await following(changes)
        shutil.rmtree(tmp_path / "pods")
        with pytest.raises(UnavailableError, match="has been removed"):
            await following(changes)


async def test_a_kind_of_one_namespace_is_all_that_is_told_of_it(state: StateDirectory) -> None:
    def config_map(name: str, namespace: str) -> Object:
        return {"metadata": {"name": name, "namespace": namespace}}

    await state.create(CONFIG_MAP, config_map("ours", "istio-system"))
    await state.create(CONFIG_MAP, config_map("theirs", "shop"))
    assert [found["metadata"]["name"] for found in await state.list(SYSTEM_CONFIG_MAP)] == ["ours"]
    async with contextlib.aclosing(state.watch([SYSTEM_CONFIG_MAP])) as changes:
        assert await following(changes) == (ChangeType.ADDED, "ours")
        assert await following(changes) == (ChangeType.SYNCED, "")
        await state.create(CONFIG_MAP, config_map("more", "shop"))
        await state.patch(CONFIG_MAP, "istio-system", "ours", {"data": {"mesh": ""}})
        assert await following(changes) == (ChangeType.MODIFIED, "ours")
