"""A task that does not die of an error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from agent.backoff import Jitter, Sleep, delays, jitter

logger = logging.getLogger(__name__)


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
