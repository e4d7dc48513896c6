"""The file that holds the mesh's roots: when it changes, all certificates are renewed.

A certificate comes with the roots that its peers are judged by. Without this, a proxy would hear of a new root hours
later, when it renews by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path

from agent.backoff import Sleep

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
MOST_SPREAD_SECONDS = 30.0  # not all nodes are to call at once


def spread() -> float:
    """Seconds from the file's change until the first request."""
    return random.uniform(0.0, MOST_SPREAD_SECONDS)


async def follow(
    path: Path, renew: Callable[[], None], *, sleep: Sleep = asyncio.sleep, spread: Callable[[], float] = spread
) -> None:
    """Look at the file for ever. One that is away, as while it is replaced, has not changed."""
    last = await asyncio.to_thread(_content, path)
    while True:
        await sleep(LOOK_SECONDS)
        found = await asyncio.to_thread(_content, path)
        if not found or found == last:
            continue
        if last:
            seconds = spread()
            logger.info("the mesh's roots have changed, certificates are renewed", extra={"in_seconds": round(seconds)})
            await sleep(seconds)
            renew()
        last = found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # whoever connects with it says so
