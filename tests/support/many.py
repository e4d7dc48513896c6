"""Many connections, a bounded number at a time: python -m tests.support.many COUNT AT_ONCE WEB REDIS

By turns to the web service, which closes first, and to redis, where the client does. Prints JSON:
the text of every failure.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator

from tests.support.load import fetch


async def ping(address: str) -> None:
    reader, writer = await asyncio.open_connection(address, 6379)
    try:
        writer.write(b"PING\r\n")
        if (answer := await reader.readline()) != b"+PONG\r\n":
            raise ConnectionError(f"answer {answer!r}")
    finally:
        writer.close()


async def main(count: int, at_once: int, web: str, redis: str) -> None:
    failures: list[str] = []

    async def some(turns: Iterator[int]) -> None:
        for turn in turns:
            try:
                await asyncio.wait_for(ping(redis) if turn % 2 else fetch(web, 80), 15)
            except (OSError, TimeoutError) as exc:
                failures.append(f"{type(exc).__name__}: {exc}")

    turns = iter(range(count))
    await asyncio.gather(*(some(turns) for _ in range(at_once)))
    print(json.dumps(failures))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
