"""How this proxy is doing, in short: what `weft status` asks for, where /config_dump would be too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from agent.proxy.certificates import Status
from agent.proxy.readiness import Readiness
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

Json = dict[str, object]


class Engine(Protocol):
    """What the report needs of the engine; as agent._engine.Engine."""

    def pods(self) -> list[str]: ...


class Discovery(Protocol):
    """What it needs of discovery."""

    @property
    def is_connected(self) -> bool: ...

    def versions(self, type_url: str) -> dict[str, str]: ...


class Report:
    """The page /status on localhost:15000. `started`: seconds of the epoch."""

    def __init__(
        self,
        engine: Engine,
        discovery: Discovery,
        statuses: Callable[[], list[Status]],
        readiness: Readiness,
        version: str,
        started: float,
    ) -> None:
        self._engine = engine
        self._discovery = discovery
        self._statuses = statuses
        self._readiness = readiness
        self._version = version
        self._started = started

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/status", self._answer)]

    async def _answer(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": self._version,
                "started": self._started,
                "connected": self._discovery.is_connected,
                "pending": list(self._readiness.pending),
                "pods": self._engine.pods(),
                "addresses": len(self._discovery.versions(ADDRESS_TYPE)),
                "policies": self._discovery.versions(AUTHORIZATION_TYPE),
                "certificates": [certificate_row(each) for each in self._statuses()],
            }
        )


def certificate_row(status: Status) -> Json:
    """One identity's certificate: `not_after` in seconds of the epoch, None without one."""
    found = status.certificate
    return {
        "identity": status.identity,
        "state": status.state.value,
        "error": status.error,
        "not_after": found.not_after.timestamp() if found else None,
        "serial": str(found.serial) if found else None,
    }
