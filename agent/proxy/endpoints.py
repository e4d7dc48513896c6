"""What the node proxy answers over HTTP: readiness, metrics, and the admin pages of ztunnel."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from aiohttp import web
from cryptography import x509
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.errors import ConfigError, EngineError
from agent.proxy import levels
from agent.proxy.certificates import Status
from agent.proxy.readiness import Readiness
from agent.proxy.settings import Settings

Json = dict[str, object]

_INDEX = """\
GET  /config_dump        workloads, services, policies, certificates, settings
GET  /status             how this proxy is doing: a short form of the dump, for `weft status`
GET  /connections        open connections
GET  /explain            what would become of a connection, and why
                         into a workload: ?destination=ADDRESS:PORT&source_ip=ADDRESS[&source=SPIFFE-ID]
                         out of a pod: ?destination=ADDRESS:PORT&pod=UID
POST /logging            show what is logged
                         ?level=LEVEL for all loggers, ?level=LOGGER:LEVEL for one and those below it
                         ?access=off, error (what failed) or info (all) for the line of each connection
                         ?reset sets everything back
POST /quitquitquit       drain and end
"""


class Engine(Protocol):
    """What the admin pages need of the engine; as agent._engine.Engine."""

    def connections(self) -> str: ...
    def config_dump(self) -> str: ...
    def explain_arrival(self, destination: str, *, source: str | None = None, source_ip: str) -> str: ...
    def explain_departure(self, pod: str, destination: str) -> str: ...
    def access_log_level(self) -> str: ...
    def set_access_log_level(self, level: str) -> None: ...


_INTO_A_WORKLOAD = frozenset({"destination", "source", "source_ip"})
_OUT_OF_A_POD = frozenset({"destination", "pod"})
_LOGGING = frozenset({"level", "access", "reset"})


class Admin:
    """The pages on localhost:15000."""

    def __init__(
        self,
        engine: Engine,
        statuses: Callable[[], list[Status]],
        settings: Settings,
        version: str,
        quit_process: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._statuses = statuses
        self._settings = settings
        self._version = version
        self._quit_process = quit_process

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._index),
            web.get("/config_dump", self._config_dump),
            web.get("/connections", self._connections),
            web.get("/explain", self._explain),
            web.post("/logging", self._logging),
            web.post("/quitquitquit", self._quit),
        ]

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=_INDEX)

    async def _config_dump(self, _: web.Request) -> web.Response:
        text = await asyncio.to_thread(self._whole_state)
        return web.Response(text=text, content_type="application/json")

    def _whole_state(self) -> str:
        state: Json = json.loads(self._engine.config_dump())
        state["certificates"] = [certificate_dump(status) for status in self._statuses()]
        state["config"] = settings_dump(self._settings)
        state["version"] = {"version": self._version}
        return json.dumps(state, indent=2)

    async def _connections(self, _: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(self._engine.connections), content_type="application/json")

    async def _explain(self, request: web.Request) -> web.Response:
        try:
            text = await asyncio.to_thread(self._explanation, request.query)
        except EngineError as exc:
            raise web.HTTPBadRequest(text=f"{exc}\n") from exc
        return web.Response(text=text, content_type="application/json")

    def _explanation(self, asked: Mapping[str, str]) -> str:
        _expect_only(_OUT_OF_A_POD if "pod" in asked else _INTO_A_WORKLOAD, asked)
        destination = _needed(asked, "destination")
        if "pod" in asked:
            return self._engine.explain_departure(asked["pod"], destination)
        source_ip = _needed(asked, "source_ip")
        return self._engine.explain_arrival(destination, source=asked.get("source"), source_ip=source_ip)

    async def _logging(self, request: web.Request) -> web.Response:
        _expect_only(_LOGGING, request.query)
        try:
            changes = self._changes(request.query)
        except ConfigError as exc:
            raise web.HTTPBadRequest(text=f"{exc}\n") from exc
        levels.change(self._engine, changes)
        return web.Response(text=f"current log level is {levels.shown(self._engine)}\n")

    def _changes(self, asked: Mapping[str, str]) -> list[tuple[str, str]]:
        if "reset" in asked:
            return [("", self._settings.log_level), (levels.ACCESS, "info")]
        access = [(levels.ACCESS, levels.access_level(asked["access"]))] if "access" in asked else []
        return access + (levels.parse(asked["level"]) if "level" in asked else [])

    async def _quit(self, _: web.Request) -> web.Response:
        self._quit_process()
        return web.Response(text="shutting down\n")


def _expect_only(accepted: frozenset[str], asked: Mapping[str, str]) -> None:
    if unknown := sorted(asked.keys() - accepted):
        raise web.HTTPBadRequest(text=f"{unknown[0]}: accepted here are {', '.join(sorted(accepted))}\n")


def _needed(asked: Mapping[str, str], name: str) -> str:
    try:
        return asked[name]
    except KeyError:
        raise web.HTTPBadRequest(text=f"{name}: missing\n") from None


def metrics_routes(registry: CollectorRegistry) -> list[web.RouteDef]:
    """Port 15020."""

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # In a thread: with many peers this is megabytes of text.
        body = await asyncio.to_thread(encode, registry)
        return web.Response(body=body, headers={"content-type": content_type})

    return [web.get("/metrics", metrics), web.get("/stats/prometheus", metrics)]


def readiness_routes(readiness: Readiness) -> list[web.RouteDef]:
    """Port 15021."""

    async def ready(_: web.Request) -> web.Response:
        if readiness.pending:
            return web.Response(status=500, text=f"not ready, pending: {', '.join(readiness.pending)}\n")
        return web.Response(text="ready\n")

    return [web.get("/healthz/ready", ready)]


def certificate_dump(status: Status) -> Json:
    """One identity as ztunnel shows it; no keys."""
    certificate = status.certificate
    state = f"{status.state.value}: {status.error}" if status.error else status.state.value
    return {
        "identity": status.identity,
        "state": state,
        "certChain": [_shown(pem) for pem in certificate.chain] if certificate else [],
        "rootCerts": [_shown(pem) for pem in certificate.roots] if certificate else [],
    }


def settings_dump(settings: Settings) -> Json:
    """Every setting; there are only paths of secrets among them."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in dataclasses.asdict(settings).items()}


def _shown(pem: bytes) -> Json:
    certificate = x509.load_pem_x509_certificate(pem)
    return {
        "serialNumber": str(certificate.serial_number),
        "validFrom": certificate.not_valid_before_utc.isoformat(),
        "expirationTime": certificate.not_valid_after_utc.isoformat(),
    }
