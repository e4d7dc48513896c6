"""Whether this proxy can serve: what it still waits for."""

from __future__ import annotations

DISCOVERY = "discovery"
HANDOVER = "pod hand-over"
DRAIN = "drain"


class Readiness:
    """The tasks that are pending; ready when there are none."""

    def __init__(self) -> None:
        self._pending = {DISCOVERY, HANDOVER}

    def done(self, task: str) -> None:
        """The task is complete; twice is fine."""
        self._pending.discard(task)

    def begin_drain(self) -> None:
        """Never ready again: the process is about to end."""
        self._pending.add(DRAIN)

    @property
    def pending(self) -> list[str]:
        return sorted(self._pending)
