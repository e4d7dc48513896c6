"""Waiting for whichever comes first, and for the end that a pod is told."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Coroutine
from typing import Any


async def first(*awaited: Coroutine[Any, Any, object]) -> int:
    """Which of these was done first, by its place; the others are cancelled. An error of the first is raised."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        number = next(i for i, task in enumerate(tasks) if task in done)
        tasks[number].result()
        return number
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something for ever beside the block. Should it fail, the block is cancelled and fails with it (as a group)."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def cause(error: BaseException) -> BaseException:
    """The first error of a group, or of the groups in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Ending:
    """Whether something is to end, and until when it may take; that can only become less."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    @property
    def seconds_left(self) -> float:
        if self._timer is None:
            return math.inf
        return max(self._timer.when() - asyncio.get_running_loop().time(), 0.0)

    def begin(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._timer is None or at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(at, self._over.set)
        self._begun.set()

    async def begun(self) -> None:
        await self._begun.wait()

    async def over(self) -> None:
        """Return when there is no time left."""
        await self._over.wait()
