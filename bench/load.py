"""The load that `make bench` runs inside pods: new connections, and how long each takes.

Runs as `python -m bench.load serve PORT` and `python -m bench.load connect ADDRESS PORT AT_ONCE SECONDS`;
the latter prints JSON: {"per_second": [n, …], "failed": n}.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time

REQUEST = b"x" * 64


async def serve(port: int) -> None:
    """Echo one message on each connection, on both address families."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readexactly(len(REQUEST)))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    sock = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    async with await asyncio.start_server(echo, sock=sock) as server:
        await server.serve_forever()


async def connect(address: str, port: int, at_once: int, seconds: float) -> dict[str, object]:
    """Open, use and close connections, `at_once` at a time; counts for each second, and failures."""
    started = time.monotonic()
    finished: list[float] = []
    failed = 0

    async def one() -> None:
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(REQUEST)
            await reader.readexactly(len(REQUEST))
        finally:
            writer.close()
        finished.append(time.monotonic() - started)

    async def worker() -> None:
        nonlocal failed
        while time.monotonic() - started < seconds:
            try:
                await asyncio.wait_for(one(), 10)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                failed += 1

    await asyncio.gather(*(worker() for _ in range(at_once)))
    whole = int(seconds)
    return {
        "per_second": [sum(second <= at < second + 1 for at in finished) for second in range(whole)],
        "failed": failed,
    }


def main() -> None:
    match sys.argv[1:]:
        case ["serve", port]:
            asyncio.run(serve(int(port)))
        case ["connect", address, port, at_once, seconds]:
            print(json.dumps(asyncio.run(connect(address, int(port), int(at_once), float(seconds)))))
        case _:
            sys.exit("usage: bench.load serve PORT | connect ADDRESS PORT AT_ONCE SECONDS")


if __name__ == "__main__":
    main()
