"""How long to wait before trying again, and a task that does not die of an error."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator

logger = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]
Jitter = Callable[[], float]


def jitter() -> float:
    """A factor between 0.75 and 1.25, so that many nodes do not call at the same moment."""
    return random.uniform(0.75, 1.25)


def delays(first: float, most: float, factor: Jitter = jitter) -> Iterator[float]:
    """Seconds, without end: doubling from `first`, never more than `most`. After a success, begin a new one."""
    delay = first
    while True:
        yield min(delay * factor(), most)
        delay = min(delay * 2, most)


async def supervise(name: str, work: Callable[[], Awaitable[None]], sleep: Sleep, factor: Jitter = jitter) -> None:
    """Run `work` for ever: start it again when it ends or fails, at longer intervals up to 30 s.

    An error is logged with its trace when it is another one than the last.
    """
    pause, last = delays(0.5, 30.0, factor), ""
    while True:
        try:
            await work()
            reason = "it ended"
        except Exception as exc:
            reason = f"{type(exc).__name__}: {exc}"
            if reason != last:
                logger.exception("task failed and is started again", extra={"task": name})
        last = reason
        await sleep(next(pause))
