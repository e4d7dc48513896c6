"""An application: `app.py serve PORT` or `app.py load ADDRESS PORT SECONDS RATE`.

serve tells each caller who it is, as JSON, then echoes until the end. load opens that many new
connections a second, exchanges a line on each, and prints how many were made and why others failed.
"""

from __future__ import annotations

import asyncio
import json
import sys


async def serve(port):
    async def answer(reader, writer):
        peer, local = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        writer.write(json.dumps({"client": peer[:2], "local": local[:2]}).encode() + b"\n")
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass

    server = await asyncio.start_server(answer, ["0.0.0.0", "::"], port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


async def load(address, port, seconds, rate):
    loop = asyncio.get_running_loop()
    failures = {}
    done = 0
    slowest = 0.0

    async def once():
        nonlocal done, slowest
        begun = loop.time()
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection(address, port)
                await reader.readline()
                writer.write(b"hello\n")
                line = await reader.readline()
                writer.write_eof()
                rest = await reader.read()
                writer.close()
            if (line, rest) != (b"hello\n", b""):
                raise OSError(f"read {line!r}")
            done += 1
            slowest = max(slowest, loop.time() - begun)
        except (OSError, TimeoutError) as exc:
            reason = repr(exc)
            failures[reason] = failures.get(reason, 0) + 1

    start = loop.time()
    tasks = []
    print("ready", flush=True)
    for index in range(int(seconds * rate)):
        delay = start + index / rate - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.ensure_future(once()))
    await asyncio.gather(*tasks)
    took = loop.time() - start
    print(
        json.dumps({"done": done, "failures": failures, "seconds": round(took, 2), "slowest": round(slowest, 3)}),
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        asyncio.run(load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])))
