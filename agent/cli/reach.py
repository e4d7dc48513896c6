"""How commands reach the mesh's processes: HTTP, and a local port, over sockets into their namespaces.

A process's debug and admin ports answer on its own loopback only, so a connection to them must be
made where the process lives. Commands know a `Mesh`, which is what can do that.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from agent.errors import ConfigError, InvalidObjectError, NotFoundError, RefusedError, UnavailableError
from agent.lab import namespaces, record
from agent.lab.layout import CONTROL, RUN

PATIENCE_SECONDS = 5.0
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """A process of the mesh: the controller, or a node's agent or proxy."""

    kind: str  # controller, node or proxy
    node: str = ""  # empty for a controller
    pod: str = ""  # of one of several controllers

    def __str__(self) -> str:
        names = {"node": "node agent", "proxy": "node proxy"}
        return f"{names[self.kind]} of {self.node}" if self.node else f"{self.kind} {self.pod}".rstrip()


CONTROLLER = Process("controller")


def agent_of(node: str) -> Process:
    return Process("node", node)


def proxy_of(node: str) -> Process:
    return Process("proxy", node)


class Mesh(Protocol):
    """A mesh that commands can reach into."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes, in order."""

    @property
    def controllers(self) -> tuple[Process, ...]:
        """Each knows the cluster, and the proxies that it serves."""

    def connect(self, process: Process, port: int) -> socket.socket:
        """A blocking connection to a port on the process's own loopback; the caller closes it.

        UnavailableError when nobody answers there.
        """

    def problems(self) -> list[str]:
        """What is wrong with what people wrote, in sentences that name file, object and field."""


class Lab:
    """A lab that runs on this machine."""

    def __init__(self, name: str, nodes: tuple[str, ...], report: Path) -> None:
        self.name = name
        self.nodes = nodes
        self.controllers = (CONTROLLER,)
        self._report = report

    def connect(self, process: Process, port: int) -> socket.socket:
        netns = f"weft-{self.name}-{process.node or CONTROL}"
        try:
            return namespaces.inside(netns, lambda: socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS))
        except (OSError, NotFoundError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            raise UnavailableError(f"the {process} does not answer on port {port}: {reason}") from exc

    def problems(self) -> list[str]:
        try:
            found = json.loads(self._report.read_text())
        except FileNotFoundError:
            return []
        except ValueError as exc:
            raise InvalidObjectError(f"{self._report}: not JSON: {exc}") from exc
        return [problem["text"] for problem in found["problems"]]


def running_lab(name: str | None, run: Path = RUN) -> Lab:
    """The lab of this name, or the only one that runs.

    NotFoundError when it, or any, is not there; ConfigError when several are and none is named.
    """
    known = sorted(path.parent.name for path in run.glob("*/lab.json"))
    if name is None:
        if not known:
            raise NotFoundError("no lab runs here; `weft lab up -d PATHS` makes one")
        if len(known) > 1:
            raise ConfigError(f"several labs run: {', '.join(known)}; choose one with --lab")
        name = known[0]
    if name not in known:
        raise NotFoundError(f"no lab {name!r} runs here; there are: {', '.join(known) or 'none'}")
    folder = run / name
    return Lab(name, record.read(folder / "lab.json").nodes, folder / "report.json")


def ask(mesh: Mesh, process: Process, port: int, path: str, query: Mapping[str, str] | None = None) -> Any:
    """The JSON that a process answers to GET.

    UnavailableError when there is no answer, RefusedError when it is not 200, with the process's words.
    """
    target = f"{path}?{urlencode(query)}" if query else path
    status, body = fetch(mesh, process, port, target)
    if status != 200:
        said = body.decode(errors="replace").strip()
        raise RefusedError(f"the {process} answers {path} with {status}: {said}")
    try:
        return json.loads(body)
    except ValueError as exc:
        raise InvalidObjectError(f"the {process} answers {path} with what is not JSON: {exc}") from exc


def fetch(mesh: Mesh, process: Process, port: int, target: str) -> tuple[int, bytes]:
    """Status and body of a GET; UnavailableError when there is no answer."""
    connection = http.client.HTTPConnection("localhost", port, timeout=PATIENCE_SECONDS)
    connection.sock = mesh.connect(process, port)
    with contextlib.closing(connection):
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise UnavailableError(f"the {process} does not answer on port {port}: {exc or 'no reason'}") from exc


@contextlib.asynccontextmanager
async def forwarded(mesh: Mesh, process: Process, port: int, local_port: int = 0) -> AsyncIterator[int]:
    """A port of this machine's loopback that leads to a process's port while the block runs; which one it is.

    local_port: 0 takes a free one. Connections that are open at the end are closed.
    Raises UnavailableError when the process is not up now, or the local port is taken.
    """
    (await asyncio.to_thread(mesh.connect, process, port)).close()
    open_now: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        task.add_done_callback(open_now.discard)
        await _carry(mesh, process, port, reader, writer)

    try:
        server = await asyncio.start_server(carry, "127.0.0.1", local_port)
    except OSError as exc:
        raise UnavailableError(f"cannot listen on 127.0.0.1:{local_port}: {exc.strerror}") from exc
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _carry(
    mesh: Mesh, process: Process, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection, until both directions have ended; one that cannot be made further on is closed."""
    with contextlib.closing(writer):
        try:
            inner = await _connected(mesh, process, port)
        except UnavailableError:
            return  # the caller sees its connection end; the process may be back for the next one
        inner.setblocking(False)
        inner_reader, inner_writer = await asyncio.open_connection(sock=inner)
        with contextlib.closing(inner_writer), contextlib.suppress(OSError):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, inner_writer))
                tasks.create_task(_copy(inner_reader, writer))


async def _connected(mesh: Mesh, process: Process, port: int) -> socket.socket:
    connecting = asyncio.ensure_future(asyncio.to_thread(mesh.connect, process, port))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with contextlib.suppress(UnavailableError):  # a thread cannot be cancelled: what it still makes is closed
            (await connecting).close()
        raise


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
