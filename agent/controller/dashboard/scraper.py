"""Reads the metrics of the connected node proxies, while somebody looks at the page and no longer.

Proxies are asked where their discovery streams come from, not where they say they are: a stream
is a proven proxy's, and so nobody can have the controller call other addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import aiohttp

from agent import wire
from agent.controller.auth import Caller
from agent.controller.dashboard import readings
from agent.controller.dashboard.readings import Reading
from agent.errors import InvalidObjectError, UnavailableError, WeftError

LEAST_SECONDS: Final = 2.0  # between two scrapes, however many pages ask
WINDOW_SECONDS: Final = 15.0  # over which rates are taken
_STALE_SECONDS: Final = 60.0  # nobody looked for so long: rates begin anew
_PATIENCE_SECONDS: Final = 2.0
_MOST_BYTES: Final = 16 * 1024 * 1024
_AT_A_TIME: Final = 16
_PEER: Final = re.compile(r"(?:ipv4|ipv6):(.*):\d+")


class Stream(Protocol):
    """A node proxy's discovery stream; as agent.controller.xds.Session."""

    caller: Caller
    id: str
    peer: str


@dataclass(frozen=True, slots=True)
class Proxy:
    """A connected node proxy. fault: why it could not be read this time, empty when it was."""

    node: str
    name: str
    host: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """One scrape of all proxies; readings by host."""

    at: float
    proxies: tuple[Proxy, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)


def host_of(peer: str) -> str:
    """The address in what gRPC calls a peer (ipv4:ADDRESS:PORT, ipv6:[ADDRESS]:PORT); empty when there is none."""
    match = _PEER.fullmatch(urllib.parse.unquote(peer))
    try:
        return str(ipaddress.ip_address(match[1].strip("[]"))) if match else ""
    except ValueError:
        return ""


def connected(streams: Iterable[Stream]) -> list[Proxy]:
    """The proxies, each once, by node and address."""
    found = {host: Proxy(each.caller.node, each.id, host) for each in streams if (host := host_of(each.peer))}
    return sorted(found.values(), key=lambda proxy: (proxy.node, proxy.host))


def base(rounds: Iterable[Round], now: Round) -> Round | None:
    """The oldest round that rates up to `now` are taken from; None until there are two."""
    return next((each for each in rounds if 0 < now.at - each.at <= WINDOW_SECONDS), None)


class Scraper:
    """Keeps the rounds of the last seconds. Lives in one event loop."""

    def __init__(self, streams: Callable[[], Iterable[Stream]], port: int = wire.METRICS_PORT) -> None:
        self._streams = streams
        self._port = port
        self._rounds: list[Round] = []
        self._turn = asyncio.Lock()

    async def observe(self) -> tuple[Round | None, Round]:
        """What rates are taken from, and what holds now; at most LEAST_SECONDS old."""
        async with self._turn:
            if not self._rounds or time.monotonic() - self._rounds[-1].at >= LEAST_SECONDS:
                await self._scrape()
            now = self._rounds[-1]
            return base(self._rounds, now), now

    async def _scrape(self) -> None:
        found = connected(self._streams())
        gate = asyncio.Semaphore(_AT_A_TIME)
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._read(session, gate, proxy)) for proxy in found]
        outcomes = [task.result() for task in asked]
        read = {proxy.host: reading for proxy, reading in outcomes if reading is not None}
        now = Round(time.monotonic(), tuple(proxy for proxy, _ in outcomes), read)
        if self._rounds and now.at - self._rounds[-1].at > _STALE_SECONDS:
            self._rounds.clear()
        self._rounds = [*(each for each in self._rounds if now.at - each.at <= WINDOW_SECONDS), now]

    async def _read(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, proxy: Proxy
    ) -> tuple[Proxy, Reading | None]:
        async with gate:
            try:
                text, at = await self._fetch(session, proxy.host)
                return proxy, await asyncio.to_thread(readings.parse, text, at)
            except (WeftError, aiohttp.ClientError, TimeoutError) as exc:
                reason = f"no answer within {_PATIENCE_SECONDS:g} s" if isinstance(exc, TimeoutError) else str(exc)
                return Proxy(proxy.node, proxy.name, proxy.host, reason), None

    async def _fetch(self, session: aiohttp.ClientSession, host: str) -> tuple[str, float]:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{self._port}/metrics"
        async with session.get(url, allow_redirects=False, headers={"Accept": "text/plain"}) as response:
            if response.status != 200:
                raise UnavailableError(f"{url} answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise UnavailableError(f"{url} answers more than {_MOST_BYTES} bytes")
            at = time.monotonic()
        try:
            return body.decode(), at
        except UnicodeDecodeError as exc:
            raise InvalidObjectError(f"{url} answers what is not text: {exc}") from exc
