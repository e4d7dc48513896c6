"""`python -m agent.lab.probe_calls`: the process named kubelet of a lab node, which makes the calls of its probes.

It is asked in lines of JSON on standard input, and answers each, in any order, on standard
output; it ends with its input. Where it runs is its starter's business: the node's network
namespace, and the cgroup by which the node agent knows a kubelet's connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypedDict

NAME = "kubelet"
MOST_STATUS_BYTES = 4096  # of a status line
_LINE_BYTES = 1 << 20


class Call(TypedDict):
    """A question. `scheme`: HTTP, HTTPS, or empty for a TCP connection that is closed at once."""

    number: int
    address: str
    port: int
    seconds: float
    scheme: str
    path: str
    headers: list[tuple[str, str]]


class Answer(TypedDict):
    """`reason` says what is wrong; it is empty when the call succeeded."""

    number: int
    reason: str


async def answer(call: Call) -> Answer:
    """Make a call once, within its time."""
    try:
        async with asyncio.timeout(call["seconds"]):
            reason = await _reason(call)
    except TimeoutError:
        reason = f"no answer within {call['seconds']:g} s"
    except ConnectionError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
    except OSError as exc:
        reason = exc.strerror or str(exc)
    return {"number": call["number"], "reason": reason}


async def _reason(call: Call) -> str:
    async with _connection(call) as (reader, writer):
        if not call["scheme"]:
            return ""
        headers = {"host": f"{_literal(call['address'])}:{call['port']}", "user-agent": "kube-probe", "accept": "*/*"}
        headers |= {name.lower(): value for name, value in call["headers"]} | {"connection": "close"}
        lines = [f"GET {call['path']} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        return refusal(await _status_line(reader))


@contextlib.asynccontextmanager
async def _connection(call: Call) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    # A kubelet does not check certificates either.
    tls = ssl._create_unverified_context() if call["scheme"] == "HTTPS" else None
    reader, writer = await asyncio.open_connection(call["address"], call["port"], ssl=tls, limit=MOST_STATUS_BYTES)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _status_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        return b""  # longer than any status line


def refusal(status_line: bytes) -> str:
    """Why the answer that begins so is no success; empty for a status from 200 to 399."""
    words = status_line.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return "the answer is not HTTP"
    status = int(words[1])
    return "" if 200 <= status < 400 else f"status {status}"


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    questions = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    async with asyncio.TaskGroup() as group:
        while line := await questions.readline():
            group.create_task(_tell(json.loads(line)))


async def _tell(call: Call) -> None:
    said = await answer(call)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    Path("/proc/self/comm").write_text(NAME)
    asyncio.run(_serve())
