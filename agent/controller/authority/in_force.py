"""The authority in force, which may be replaced while the controller runs, and who has to know of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agent.controller.authority.ca import Authority


class InForce:
    """One authority at a time. Read from any thread; replaced, and waited for, in the event loop alone."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._changed = asyncio.Event()

    @property
    def authority(self) -> Authority:
        """The one of this moment; a call that signs takes it once."""
        return self._authority

    def replace(self, authority: Authority) -> None:
        """From now on this one."""
        self._authority = authority
        self._changed.set()
        self._changed = asyncio.Event()

    async def replaced(self) -> None:
        """Wait until another one takes its place."""
        await self._changed.wait()

    async def with_roots(self, work: Callable[[str], Awaitable[None]]) -> None:
        """Do the work with all roots as PEM, begun anew whenever they change, for ever.

        Raises what the work raises.
        """
        while True:
            roots = self._authority.root_pem
            async with asyncio.TaskGroup() as group:
                working = group.create_task(_awaited(work, roots))
                while self._authority.root_pem == roots:
                    await self.replaced()
                working.cancel()


async def _awaited(work: Callable[[str], Awaitable[None]], roots: str) -> None:
    await work(roots)
