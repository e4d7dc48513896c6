"""What is published when: nothing before the cluster is known, then at once or together."""

import asyncio
from collections.abc import AsyncGenerator

from agent import kube
from agent.controller.cluster import ClusterState, Touched
from agent.controller.following import MANY, Following
from agent.kube import Change, ChangeType
from tests.support.objects import a_pod

SYNCED = Change(ChangeType.SYNCED)


def added(name: str) -> Change:
    return Change(ChangeType.ADDED, kube.POD, a_pod(name))


class Told:
    """What a Following has published, when it called the cluster complete, and its pauses, which end when told to."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[Change] = asyncio.Queue()
        self.published: list[list[str]] = []
        self.pauses: list[float] = []
        self.complete_after = -1
        self.news = asyncio.Event()
        self.go_on = asyncio.Semaphore(0)
        self._following = Following(ClusterState(None), self._publish, self._complete, self._sleep)

    async def run(self) -> None:
        await self._following.follow(self._all())

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.published) < count:
                self.news.clear()
                await self.news.wait()

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.go_on.acquire()

    async def _all(self) -> AsyncGenerator[Change, None]:
        while True:
            yield await self.changes.get()
            self.changes.task_done()

    def _publish(self, touched: Touched) -> None:
        self.published.append(sorted(name for _, name in touched.pods))
        self.news.set()

    def _complete(self) -> None:
        self.complete_after = len(self.published)


def tell(told: Told, *changes: Change) -> None:
    for change in changes:
        told.changes.put_nowait(change)


async def test_what_exists_is_published_once_and_together() -> None:
    told = Told()
    running = asyncio.create_task(told.run())
    tell(told, added("a"), added("b"))
    await told.changes.join()
    assert told.published == []
    tell(told, SYNCED)
    await told.until(1)
    assert (told.published, told.complete_after) == ([["a", "b"]], 1)
    running.cancel()


async def test_a_change_is_published_at_once_and_those_that_come_soon_after_it_together() -> None:
    told = Told()
    running = asyncio.create_task(told.run())
    tell(told, SYNCED)
    await told.until(1)
    told.go_on.release()
    tell(told, added("a"))
    await told.until(2)
    tell(told, added("b"), added("c"))
    await told.changes.join()
    assert told.published == [[], ["a"]]
    told.go_on.release()
    await told.until(3)
    assert told.published == [[], ["a"], ["b", "c"]]
    running.cancel()


async def test_what_touches_nothing_is_not_published() -> None:
    told = Told()
    running = asyncio.create_task(told.run())
    tell(told, added("a"), SYNCED)
    await told.until(1)
    told.go_on.release()
    tell(told, added("a"), added("b"))
    await told.until(2)
    assert told.published == [["a"], ["b"]]
    running.cancel()


async def test_while_many_come_the_pause_is_longer() -> None:
    told = Told()
    running = asyncio.create_task(told.run())
    tell(told, added("before"), SYNCED)
    await told.until(1)
    for number in range(5):
        count = MANY if number < 4 else 1
        tell(told, *(added(f"pod-{number}-{index}") for index in range(count)))
        await told.changes.join()
        told.go_on.release()
        await told.until(number + 2)
    assert told.pauses == [0.1, 0.2, 0.4, 0.4, 0.4, 0.1]
    running.cancel()
