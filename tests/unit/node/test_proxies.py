from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent import handover
from agent.errors import PodNotReadyError
from agent.handover import AddPod, DeletePod, KeepPod, ProxyEnd, Request, SnapshotSent
from agent.metrics import NodeMetrics
from agent.model import PodUid
from agent.node import proxies as module
from agent.node.proxies import Proxies

OWN_CGROUP = 42


class FakeExemptions:
    def __init__(self) -> None:
        self.current: set[int] = set()
        self.none_left = asyncio.Event()

    def exempt(self, cgroup: Path) -> int:
        self.current.add(OWN_CGROUP)
        return OWN_CGROUP

    def end_exemption(self, number: int) -> None:
        self.current.discard(number)
        self.none_left.set()

    def exempted(self) -> set[int]:
        return set(self.current)


class Stage:
    """A hand-over socket with the agent's side running."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exemptions = FakeExemptions()
        self.proxies = Proxies(self.exemptions, lambda pid: Path("/"), NodeMetrics(CollectorRegistry()), 0.0)
        self.ends: list[ProxyEnd] = []

    async def connect(self, *answers: str) -> tuple[ProxyEnd, list[str]]:
        """A proxy that has taken the snapshot, answering in turn; what the snapshot named."""
        end = await ProxyEnd.connect(self.path)
        self.ends.append(end)
        named = []
        given = [*answers]
        while not isinstance(request := await received(end), SnapshotSent):
            named.append(described(request))
            await end.acknowledge(given.pop(0) if given else "")
        before = len(self.proxies._connections)
        await end.acknowledge()
        async with asyncio.timeout(5):
            while len(self.proxies._connections) == before:  # noqa: ASYNC110
                await asyncio.sleep(0)
        return end, named


async def received(end: ProxyEnd) -> Request:
    request = await asyncio.wait_for(end.receive(), 5)
    if isinstance(request, AddPod):
        os.close(request.netns)
    return request


def described(request: Request) -> str:
    match request:
        case AddPod(uid=uid):
            return f"add {uid}"
        case KeepPod(uid):
            return f"keep {uid}"
        case DeletePod(uid):
            return f"delete {uid}"
        case SnapshotSent():
            return "snapshot sent"


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(module, "ACCEPT_SECONDS", 0.0)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    stage = Stage(tmp_path / "ztunnel.sock")
    with contextlib.closing(handover.listen(stage.path)) as listener:
        serving = asyncio.ensure_future(stage.proxies.serve(listener))
        yield stage
        for end in stage.ends:
            end.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def netns() -> int:
    """Any descriptor will do, while nobody enters it."""
    return 0


def a_pod(uid: str, netns: int) -> AddPod:
    return AddPod(PodUid(uid), f"web-{uid}", "shop", "web", netns)


async def answer(end: ProxyEnd, error: str = "") -> str:
    request = described(await received(end))
    await end.acknowledge(error)
    return request


async def test_without_a_proxy_nothing_can_be_added(stage: Stage, netns: int) -> None:
    with pytest.raises(PodNotReadyError, match="no node proxy is connected"):
        await stage.proxies.add(a_pod("1", netns))


async def test_a_proxy_is_exempt_while_it_is_connected(stage: Stage) -> None:
    first, _ = await stage.connect()
    second, _ = await stage.connect()
    assert stage.exemptions.current == {OWN_CGROUP}
    first.close()
    second.close()
    async with asyncio.timeout(5):
        await stage.exemptions.none_left.wait()


async def test_a_snapshot_names_what_was_handed_over(stage: Stage, netns: int) -> None:
    stage.proxies.adopt([a_pod("1", netns), KeepPod(PodUid("2"))])
    _, named = await stage.connect()
    assert named == ["add 1", "keep 2"]


async def test_a_later_proxy_gets_the_namespace_that_was_handed_over_whatever_its_number_means_now(
    stage: Stage, tmp_path: Path
) -> None:
    """An agent that opened the namespace again must not give a pod the namespace of another."""
    first, added, other = (tmp_path / name for name in ("adopted", "added", "another pod's"))
    for path in (first, added, other):
        path.touch()

    def opened(path: Path) -> int:
        return os.open(path, os.O_RDONLY)

    own = {path: opened(path) for path in (first, added)}
    stage.proxies.adopt([a_pod("1", own[first])])
    end, _ = await stage.connect()
    adding = asyncio.ensure_future(stage.proxies.add(a_pod("2", own[added])))
    assert await answer(end) == "add 2"
    await adding
    for descriptor in own.values():
        os.close(descriptor)
    recycled = [opened(other) for _ in own]
    assert set(recycled) == set(own.values()), "the numbers are used again"

    later = await ProxyEnd.connect(stage.path)
    stage.ends.append(later)
    for path in (first, added):
        request = await asyncio.wait_for(later.receive(), 5)
        assert isinstance(request, AddPod)
        assert os.fstat(request.netns).st_ino == path.stat().st_ino, f"{request.uid} got another namespace"
        os.close(request.netns)
        await later.acknowledge()
    for descriptor in recycled:
        os.close(descriptor)


async def test_a_pod_that_is_deleted_while_it_is_handed_over_is_not_kept_by_the_proxy(stage: Stage, netns: int) -> None:
    stage.proxies.adopt([a_pod("1", netns)])
    end = await ProxyEnd.connect(stage.path)
    stage.ends.append(end)
    assert described(await received(end)) == "add 1"
    await stage.proxies.delete(PodUid("1"))
    await end.acknowledge()
    assert described(await received(end)) == "delete 1"


async def test_an_addition_is_done_when_it_is_acknowledged(stage: Stage, netns: int) -> None:
    end, _ = await stage.connect()
    adding = asyncio.ensure_future(stage.proxies.add(a_pod("1", netns)))
    assert await answer(end) == "add 1"
    await adding
    _, named = await stage.connect()
    assert named == ["add 1"]


async def test_a_refused_addition_says_why_and_is_not_handed_over(stage: Stage, netns: int) -> None:
    end, _ = await stage.connect()
    adding = asyncio.ensure_future(stage.proxies.add(a_pod("1", netns)))
    await answer(end, "port in use")
    with pytest.raises(PodNotReadyError, match="port in use"):
        await adding
    _, named = await stage.connect()
    assert named == []


async def test_a_proxy_that_dies_fails_what_waits_for_it(stage: Stage, netns: int) -> None:
    end, _ = await stage.connect()
    adding = asyncio.ensure_future(stage.proxies.add(a_pod("1", netns)))
    await received(end)
    end.close()
    with pytest.raises(PodNotReadyError):
        await adding


async def test_the_newest_gets_additions_and_all_get_deletions(stage: Stage, netns: int) -> None:
    stage.proxies.adopt([a_pod("1", netns)])
    old, _ = await stage.connect()
    new, _ = await stage.connect()
    adding = asyncio.ensure_future(stage.proxies.add(a_pod("2", netns)))
    assert await answer(new) == "add 2"
    await adding
    deleting = asyncio.ensure_future(stage.proxies.delete(PodUid("1")))
    assert [await answer(old), await answer(new)] == ["delete 1", "delete 1"]
    await deleting


async def test_a_pod_refused_in_the_snapshot_does_not_hold_up_the_rest(stage: Stage, netns: int) -> None:
    stage.proxies.adopt([a_pod("1", netns), a_pod("2", netns)])
    end, named = await stage.connect("not now")
    assert named == ["add 1", "add 2"]
    assert await answer(end) == "add 1"  # tried again
