"""A proxy in front of an API server that breaks connections and refuses requests on command, and counts them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, TCPConnector, web

from tests.support.cluster import ControlPlane, write_kubeconfig
from tests.support.cluster_program import own_address

PATIENCE_SECONDS = 20
HOP_BY_HOP = {"transfer-encoding", "content-encoding", "content-length", "connection"}


@dataclass
class Faults:
    """What happens to requests from now on."""

    kubeconfig: Path
    address: str  # that it listens on
    seen: list[str] = field(default_factory=list)  # "list", "page" (a list's next) or "watch", in the order they came
    refusals: list[int] = field(default_factory=list)  # statuses of the next answers, instead of the API server's
    cuts_next_line: bool = False
    before: Callable[[web.Request], Awaitable[None]] | None = None
    _streams: set[asyncio.Transport] = field(default_factory=set)
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def drop_watch(self) -> None:
        """Break the watch, as when the network or the API server goes; waits for one to be open."""
        await asyncio.wait_for(self._opened.wait(), PATIENCE_SECONDS)
        for stream in self._streams:
            stream.abort()
        self._streams.clear()
        self._opened.clear()

    async def handle(self, request: web.Request, upstream: ClientSession) -> web.StreamResponse:
        is_watch = "watch" in request.query
        self.seen.append("watch" if is_watch else "page" if "continue" in request.query else "list")
        if self.before is not None:
            await self.before(request)
        if self.refusals:
            return _refused(self.refusals.pop(0))
        async with upstream.request(request.method, request.path_qs, data=await request.read()) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            stream = request.transport
            assert stream is not None
            if is_watch:
                self._streams.add(stream)
                self._opened.set()
            try:
                async for line in answer.content:
                    await response.write(line[: len(line) // 2] if self.cuts_next_line else line)
                    if self.cuts_next_line:
                        self.cuts_next_line = False
                        break
            finally:
                self._streams.discard(stream)
            return response


@contextlib.asynccontextmanager
async def faults_before(plane: ControlPlane, folder: Path) -> AsyncIterator[Faults]:
    """The proxy, listening; the kubeconfig of its Faults leads through it, as the administrator."""
    administrator = ssl.create_default_context(cafile=str(plane.ca))
    administrator.load_cert_chain(plane.folder / "admin.crt", plane.folder / "admin.key")
    faults = Faults(folder / "faults.kubeconfig", own_address())
    connector = TCPConnector(ssl=administrator, limit=0)
    async with ClientSession(plane.url, connector=connector, read_bufsize=2**21) as upstream:
        application = web.Application(client_max_size=2**24)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await faults.handle(request, upstream)

        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, faults.address, 0).start()
            write_kubeconfig(faults.kubeconfig, f"http://{faults.address}:{runner.addresses[0][1]}", plane.ca, {})
            yield faults
        finally:
            await runner.cleanup()


def _refused(status: int) -> web.Response:
    reason = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "a fault", "code": status}
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.Response(status=status, text=json.dumps(reason), content_type="application/json", headers=headers)
