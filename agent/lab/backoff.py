"""How long to wait before a process that ended is started again. Rules only."""

from __future__ import annotations

FIRST_SECONDS = 1.0
MOST_SECONDS = 10.0
GOOD_RUN_SECONDS = 30.0


def next_delay(last_delay: float, ran_seconds: float) -> float:
    """Seconds until the next start; `last_delay` is 0 before the first. A good run starts the count anew."""
    if last_delay == 0 or ran_seconds >= GOOD_RUN_SECONDS:
        return FIRST_SECONDS
    return min(last_delay * 2, MOST_SECONDS)
