"""A small HTTP server for admin, metrics and health endpoints."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.errors import UnavailableError


@contextlib.asynccontextmanager
async def serving(
    routes: Iterable[web.RouteDef],
    *,
    host: str | None,
    port: int,
    tls: ssl.SSLContext | None = None,
    longest_request: int = 64 * 1024,
) -> AsyncIterator[None]:
    """Answer HTTP while the block runs; `host` None is every address. A handler's error is a 500 and a log line.

    longest_request: bytes of a body; a longer one gets 413. Raises UnavailableError when the port is taken.
    """
    app = web.Application(client_max_size=longest_request)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, reuse_port=False, ssl_context=tls).start()
        except OSError as exc:
            raise UnavailableError(f"cannot listen on {host or '*'}:{port}: {exc.strerror}") from exc
        yield
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
