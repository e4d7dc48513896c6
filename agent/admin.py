"""A small HTTP server for admin, metrics and health endpoints.

Whoever reaches the port may call, so a server holds few connections: one too many ends the
oldest, never the newest. A scrape is over in milliseconds; what is old is silent, slow, or idle.
Otherwise a few thousand silent callers would take all of the process's descriptors, and in the
node proxy those are what connections of pods need too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.errors import UnavailableError

MOST_CONNECTIONS: Final = 64
_BACKLOG: Final = 256  # so many more may be accepted before the oldest end
_SETTLE_SECONDS: Final = 0.1
_KEEP_ALIVE_SECONDS: Final = 75.0


@contextlib.asynccontextmanager
async def serving(
    routes: Iterable[web.RouteDef],
    *,
    host: str | None,
    port: int,
    dropped: Callable[[], object],
    tls: ssl.SSLContext | None = None,
    longest_request: int = 64 * 1024,
    most_connections: int = MOST_CONNECTIONS,
) -> AsyncIterator[None]:
    """Answer HTTP while the block runs; `host` None is every address. A handler's error is a 500 and a log line.

    dropped: called for each connection that is ended because newer ones came. longest_request: bytes of a
    body; a longer one gets 413. most_connections: beyond it the oldest end. Raises UnavailableError when
    the port is taken.
    """
    app = web.Application(client_max_size=longest_request)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, keepalive_timeout=_KEEP_ALIVE_SECONDS)
    await runner.setup()
    try:
        assert runner.server is not None, "a runner without its server"
        entrance = _entrance(runner.server, most_connections, dropped)
        try:
            listening = await asyncio.get_running_loop().create_server(entrance, host, port, backlog=_BACKLOG, ssl=tls)
        except OSError as exc:
            raise UnavailableError(f"cannot listen on {host or '*'}:{port}: {exc.strerror}") from exc
        try:
            yield
        finally:
            listening.close()
    finally:
        await runner.cleanup()


def only_local(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """The same routes, answered to callers on the process's own loopback alone; others get 403 and the reason.

    A port-forward ends there too. The name they call must be loopback's as well, so that no page of another
    site can have a browser ask under a name that it has made lead here.
    """
    return [web.RouteDef(each.method, each.path, _guarded(each.handler), each.kwargs) for each in routes]


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine's own."""
    name = host.rpartition(":")[0] if host.count(":") == 1 or "]:" in host else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def _guarded(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        if not is_loopback(request.remote or ""):
            raise web.HTTPForbidden(text=f"{request.path} answers on localhost only: forward a port to this process\n")
        if not is_loopback(request.host):
            raise web.HTTPForbidden(text=f"{request.path} answers to the name localhost only, not {request.host!r}\n")
        return await handler(request)

    return answer


def _entrance(server: web.Server, most: int, dropped: Callable[[], object]) -> Callable[[], asyncio.Protocol]:
    loop = asyncio.get_running_loop()

    def end_oldest(left: int) -> None:
        for oldest in server.connections[:-left]:
            transport = oldest.transport
            if isinstance(transport, asyncio.Transport) and not transport.is_closing():
                # Not close(): that waits until a peer that does not read has read everything.
                transport.abort()
                dropped()

    def enter() -> asyncio.Protocol:
        end_oldest(most - 1)
        # Those that came at the same time are among the server's connections only a little later.
        loop.call_later(_SETTLE_SECONDS, end_oldest, most)
        return server()

    return enter
