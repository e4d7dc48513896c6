"""New connections at a steady rate, from inside a pod: python -m tests.support.load ADDRESS PORT PER_SECOND

Each fetches one page. Runs until its standard input ends, then prints JSON: how many were made,
and the text of every failure. Times are not judged.
"""

from __future__ import annotations

import asyncio
import json
import sys

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


async def fetch(address: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(REQUEST)
        answer = await reader.read()
        if b" 200 " not in answer:
            raise ConnectionError(f"answer of {len(answer)} bytes")
    finally:
        writer.close()


async def main(address: str, port: int, per_second: int) -> None:
    failures: list[str] = []
    made = 0

    async def one() -> None:
        try:
            await asyncio.wait_for(fetch(address, port), 15)
        except (OSError, TimeoutError) as exc:
            failures.append(f"{type(exc).__name__}: {exc}")

    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(sys.stdin, lambda: ended.done() or ended.set_result(None))
    started = loop.time()
    async with asyncio.TaskGroup() as group:
        while not ended.done():
            due = int((loop.time() - started) * per_second) - made
            for _ in range(due):
                group.create_task(one())
            made += due
            await asyncio.wait([ended], timeout=0.5 / per_second)
    print(json.dumps({"made": made, "failures": failures}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
