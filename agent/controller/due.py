"""What is to be written to the cluster, one after the other, while this process may write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Due(Generic[K]):
    """everything: all that there is to look at when a run begins. is_ready: whether anything may be written yet."""

    def __init__(self, everything: Callable[[], Iterable[K]], is_ready: Callable[[], bool] = lambda: True) -> None:
        self._everything = everything
        self._is_ready = is_ready
        self._keys: dict[K, None] = {}
        self._is_running = False
        self._wake = asyncio.Event()

    def add(self, keys: Iterable[K]) -> None:
        """These have changed. Nothing is kept for a run that may never come: it looks at everything."""
        if self._is_running:
            self._keys |= dict.fromkeys(keys)
            self._wake.set()

    async def run(self, write: Callable[[K], Awaitable[None]]) -> None:
        """Write for ever."""
        self._is_running = True
        self.add(self._everything())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._keys and self._is_ready():
                    key = next(iter(self._keys))
                    del self._keys[key]
                    await write(key)
        finally:
            self._is_running = False
            self._keys.clear()
