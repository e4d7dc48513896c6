"""A process full of node proxies' discovery streams: `python -m bench.scale.clients`, told what to do on its input.

They are real gRPC clients, each with a connection, a stream and a token of its own, which ask and acknowledge as node
proxies do, but do nothing with what they get. Each line of input is a JSON object that names what to `do`; each is
answered by a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

Request = discovery_pb2.DeltaDiscoveryRequest
Response = discovery_pb2.DeltaDiscoveryResponse

_METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 200 * 1024 * 1024),
    ("grpc.ssl_target_name_override", "istiod.istio-system.svc"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_RETRY_SECONDS: Final = 0.2
_TYPES: Final = (AUTHORIZATION_TYPE, ADDRESS_TYPE)
_POLL_SECONDS: Final = 0.01

Versions = dict[str, dict[str, str]]  # by type, what a proxy says that it holds


@dataclass(slots=True)
class Heard:
    """What one proxy was told since it was last asked; only of what counts."""

    responses: int = 0
    resources: int = 0
    removed: int = 0
    bytes: int = 0
    answered: set[str] = field(default_factory=set)  # types
    complete_at: float = 0.0  # monotonic time of the response that made both types answered


class Proxy:
    """One node proxy."""

    def __init__(self, crowd: Crowd, channel: grpc.aio.Channel, token: str, *, keeps_versions: bool) -> None:
        self._crowd = crowd
        self._channel = channel
        self._token = token
        self._keeps_versions = keeps_versions
        self.heard = Heard()

    async def follow(self, held: Versions, names: list[str]) -> None:
        """One stream after the other, for ever. names: ask for those Addresses alone; without, for everything."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._stream(held, names)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _stream(self, held: Versions, names: list[str]) -> None:
        method = self._channel.stream_stream(_METHOD, request_serializer=Request.SerializeToString)
        call = method(metadata=(("authorization", f"Bearer {self._token}"),), wait_for_ready=True)
        try:
            for type_url in _TYPES:
                await call.write(_first_request(type_url, held.get(type_url, {}), names))
            while isinstance(answer := await call.read(), bytes):
                heard_at = time.monotonic()
                response = Response.FromString(answer)
                await call.write(Request(type_url=response.type_url, response_nonce=response.nonce))
                self._take(response, len(answer), heard_at)
        finally:
            call.cancel()

    def _take(self, response: Response, size: int, heard_at: float) -> None:
        heard = self.heard
        changed, removed = self._crowd.counted(response)
        heard.responses += bool(changed or removed) or not self._crowd.only
        heard.resources += changed
        heard.removed += removed
        heard.bytes += size
        if response.type_url not in heard.answered:
            heard.answered.add(response.type_url)
            if len(heard.answered) == len(_TYPES):
                heard.complete_at = heard_at
        if response.type_url == ADDRESS_TYPE:
            self._crowd.note(self, response, heard_at)
        if self._keeps_versions:
            self._crowd.keep(response)


def _first_request(type_url: str, held: dict[str, str], names: list[str]) -> Request:
    request = Request(type_url=type_url, initial_resource_versions=held)
    request.node.id = "ztunnel~10.0.0.2~weft-proxy.istio-system~istio-system.svc.cluster.local"
    request.node.metadata.update({"WEFT_VERSION": "bench"})
    if names and type_url == ADDRESS_TYPE:  # as a node proxy with XDS_ON_DEMAND does
        request.resource_names_subscribe.extend(["*", *names])
        request.resource_names_unsubscribe.append("*")
    return request


class Crowd:
    """The proxies of this process.

    only: what resources' names have to contain to be counted; all are without.
    """

    def __init__(self, target: str, roots: bytes, tokens: Iterable[str], only: str = "") -> None:
        self.only = only
        credentials = grpc.ssl_channel_credentials(roots)
        self._make = lambda: grpc.aio.secure_channel(target, credentials, _OPTIONS)
        self._tokens = list(tokens)
        self._proxies: list[Proxy] = []
        self._channels: list[grpc.aio.Channel] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._awaited: dict[str, dict[Proxy, float]] = {}  # resources, by name: when each proxy heard of it first
        self.versions: Versions = {type_url: {} for type_url in _TYPES}

    async def connect(self, *, resume: bool = False, names: list[str] | None = None) -> None:
        """Bring all proxies up; to resume is to say what was held before."""
        held = self.versions if resume else {}
        for number, token in enumerate(self._tokens):
            self._channels.append(self._make())
            proxy = Proxy(self, self._channels[-1], token, keeps_versions=number == 0 and not names)
            self._proxies.append(proxy)
            self._tasks.append(asyncio.create_task(proxy.follow(held, names or [])))

    async def disconnect(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))
        self._proxies, self._channels, self._tasks = [], [], []

    async def complete(self) -> float:
        """The time at which the last proxy had its first answers, once it has."""
        while any(not each.heard.complete_at for each in self._proxies):  # noqa: ASYNC110 - a bench may poll
            await asyncio.sleep(_POLL_SECONDS)
        return max(each.heard.complete_at for each in self._proxies)

    def expect(self, names: Iterable[str]) -> None:
        """From now on note when each proxy hears of these resources."""
        self._awaited = {name: {} for name in names}

    async def heard(self) -> dict[str, list[float]]:
        """The times at which each expected resource reached each proxy first, once it has."""
        wanted = len(self._proxies)
        while any(len(times) < wanted for times in self._awaited.values()):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        return {name: list(times.values()) for name, times in self._awaited.items()}

    def note(self, proxy: Proxy, response: Response, heard_at: float) -> None:
        if self._awaited:
            for each in response.resources:
                if (times := self._awaited.get(each.name)) is not None:
                    times.setdefault(proxy, heard_at)

    def counted(self, response: Response) -> tuple[int, int]:
        """How many changed and removed resources of a response count."""
        if not self.only:
            return len(response.resources), len(response.removed_resources)
        changed = sum(self.only in each.name for each in response.resources)
        return changed, sum(self.only in name for name in response.removed_resources)

    def keep(self, response: Response) -> None:
        held = self.versions[response.type_url]
        held.update((each.name, each.version) for each in response.resources)
        for name in response.removed_resources:
            held.pop(name, None)

    def totals(self) -> dict[str, int]:
        """What all proxies heard since the last time."""
        found = {
            each: sum(getattr(proxy.heard, each) for proxy in self._proxies)
            for each in ("responses", "resources", "removed", "bytes")
        }
        for proxy in self._proxies:
            proxy.heard = Heard()
        return found


async def obey(crowd: Crowd, order: dict[str, Any]) -> Any:
    """Do one thing; what to answer."""
    match order:
        case {"do": "connect"}:
            return await crowd.connect(resume=bool(order.get("resume")), names=order.get("names"))
        case {"do": "disconnect"}:
            return await crowd.disconnect()
        case {"do": "complete"}:
            return await crowd.complete()
        case {"do": "expect", "names": names}:
            return crowd.expect(names)
        case {"do": "heard"}:
            return await crowd.heard()
        case {"do": "totals"}:
            return crowd.totals()
        case {"do": "held"}:
            return {type_url: len(held) for type_url, held in crowd.versions.items()}
    raise ValueError(f"not an order: {order}")


async def serve() -> None:
    """Orders from standard input, the first of which says where the controller is, until its end."""
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    start = json.loads(await reader.readline())
    crowd = Crowd(start["target"], start["roots"].encode(), start["tokens"], start["only"])
    while line := await reader.readline():
        print(json.dumps(await obey(crowd, json.loads(line))), flush=True)
    await crowd.disconnect()


if __name__ == "__main__":
    asyncio.run(serve())
