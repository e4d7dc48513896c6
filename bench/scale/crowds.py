"""The processes with the proxies in them, as the bench uses them: all at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS: Final = 300.0
_LONGEST_LINE: Final = 64 * 1024 * 1024


class Crowds:
    """Every method talks to all processes."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    def halves(self) -> tuple[Crowds, Crowds]:
        """Each with half of the processes."""
        middle = len(self._processes) // 2
        return Crowds(self._processes[:middle]), Crowds(self._processes[middle:])

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    async def connect(self, *, resume: bool = False, names: Sequence[Sequence[str]] = ()) -> None:
        """names: for the proxies of each process, what they ask for on demand."""
        orders = [
            {"do": "connect", "resume": resume, "names": list(names[number]) if names else []}
            for number in range(len(self._processes))
        ]
        await asyncio.gather(*map(self._tell, self._processes, orders))

    async def disconnect(self) -> None:
        await self._all({"do": "disconnect"})

    async def complete(self) -> float:
        """The monotonic time at which the last proxy of all had everything that it asked for."""
        return max(await self._all({"do": "complete"}))

    async def expect(self, names: Sequence[str]) -> None:
        await self._all({"do": "expect", "names": list(names)})

    async def heard(self) -> dict[str, list[float]]:
        """By expected resource, when it reached each proxy."""
        answers = await self._all({"do": "heard"})
        return {name: [at for answer in answers for at in answer[name]] for name in answers[0]}

    async def totals(self) -> dict[str, int]:
        """Responses, resources, removals and bytes that all proxies together were told since the last time."""
        answers = await self._all({"do": "totals"})
        return {name: sum(answer[name] for answer in answers) for name in answers[0]}

    async def held(self) -> list[dict[str, int]]:
        """How many resources of each type a proxy of each process holds."""
        return await self._all({"do": "held"})

    async def _all(self, order: dict[str, Any]) -> list[Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await asyncio.gather(*(self._tell(process, order) for process in self._processes))

    async def _tell(self, process: asyncio.subprocess.Process, order: dict[str, Any]) -> Any:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        assert line, f"a process of proxies has ended, asked to {order['do']}"
        return json.loads(line)


@contextlib.asynccontextmanager
async def started(
    target: str, roots: str, tokens: Sequence[str], processes: int, only: str = ""
) -> AsyncIterator[Crowds]:
    """The tokens' proxies, shared out to so many processes; not connected yet. They end with the block.

    only: what names have to contain to be counted.
    """
    found: list[asyncio.subprocess.Process] = []
    try:
        for number in range(processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.scale.clients",
                cwd=ROOT,
                env={"PATH": os.environ["PATH"]},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )  # fmt: skip
            found.append(process)
            start = {"target": target, "roots": roots, "tokens": tokens[number::processes], "only": only}
            assert process.stdin is not None
            process.stdin.write(json.dumps(start).encode() + b"\n")
        yield Crowds(found)
    finally:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
