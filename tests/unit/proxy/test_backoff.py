import itertools
import logging

import pytest

from agent.backoff import delays, jitter
from agent.proxy.backoff import supervise
from tests.support.proxy import FakeClock, running


def test_delays_double_up_to_the_most() -> None:
    assert list(itertools.islice(delays(0.01, 0.05, lambda: 1.0), 5)) == [0.01, 0.02, 0.04, 0.05, 0.05]


def test_jitter_never_goes_beyond_the_most() -> None:
    assert max(itertools.islice(delays(1, 4, lambda: 1.25), 5)) == 4
    assert all(0.75 <= jitter() <= 1.25 for _ in range(100))


async def test_a_task_that_fails_is_started_again_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock, runs = FakeClock(most_sleeps=3), []

    async def work() -> None:
        runs.append(1)
        raise ValueError("boom")

    async with running(supervise("work", work, clock.sleep, lambda: 1.0)):
        await clock.asleep.wait()
    assert (len(runs), clock.slept) == (4, [0.5, 1, 2, 4])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
