"""Waiting for what comes first, and for an end."""

from __future__ import annotations

import asyncio

import pytest

from agent.errors import KernelError
from agent.lab.kubernetes.waiting import Ending, beside, cause, first


async def never() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    raise KernelError("no")


async def test_the_first_that_is_done_is_told_and_the_others_are_cancelled() -> None:
    ended = asyncio.Event()

    async def tells_its_end() -> None:
        try:
            await never()
        finally:
            ended.set()

    assert await first(tells_its_end(), asyncio.sleep(0)) == 1
    assert ended.is_set()


async def test_the_error_of_the_first_is_raised() -> None:
    with pytest.raises(KernelError):
        await first(never(), failing())


async def test_what_goes_on_beside_a_block_ends_with_it() -> None:
    async with asyncio.timeout(5), beside(never()):
        pass


async def test_a_block_ends_with_the_error_of_what_goes_on_beside_it() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with beside(failing()):
            await never()
    assert isinstance(cause(raised.value), KernelError)


async def test_the_time_that_is_left_can_only_become_less() -> None:
    ending = Ending()
    assert not ending.has_begun
    ending.begin(1000)
    ending.begin(0.001)
    ending.begin(1000)
    assert ending.seconds_left < 1
    async with asyncio.timeout(5):
        await ending.begun()
        await ending.over()
