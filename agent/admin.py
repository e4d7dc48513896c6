"""A small HTTP server for admin, metrics and health endpoints."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from aiohttp import web

from agent.errors import UnavailableError


@contextlib.asynccontextmanager
async def serving(routes: Iterable[web.RouteDef], *, host: str | None, port: int) -> AsyncIterator[None]:
    """Answer HTTP while the block runs; `host` None is every address. A handler's error is a 500 and a log line.

    Raises UnavailableError when the port is taken.
    """
    app = web.Application(client_max_size=64 * 1024)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, reuse_port=False).start()
        except OSError as exc:
            raise UnavailableError(f"cannot listen on {host or '*'}:{port}: {exc.strerror}") from exc
        yield
    finally:
        await runner.cleanup()
