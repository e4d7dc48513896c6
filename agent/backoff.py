"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator

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
