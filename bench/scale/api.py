"""Writing to an API server, many requests at a time; as its administrator, whom it does not slow down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Final, TypeVar

import aiohttp

from agent import kube
from agent.apiserver import requests
from agent.apiserver.connection import JSON
from bench.scale import objects
from bench.scale.objects import Json, PodName, Size
from tests.support.cluster import ControlPlane

AT_ONCE: Final = 48
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_TOKEN_SECONDS: Final = 3600
_KINDS: Final = {kind.name: kind for kind in kube.KINDS}
T = TypeVar("T")


class Api:
    """The administrator's connections."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def create(self, new: Json) -> None:
        kind = _KINDS[new["kind"]]
        await self._send("POST", requests.collection(kind, new["metadata"].get("namespace", "")), new)

    async def report(self, pod: PodName, status: Json) -> None:
        """What a pod's kubelet says of it; conditions that it does not name stay."""
        path = f"{requests.item(kube.POD, pod.namespace, pod.name)}/status"
        await self._send("PATCH", path, {"status": status}, _STRATEGIC)

    async def token(self, pod: PodName) -> str:
        """For the controller, bound to the pod of a node proxy."""
        path = requests.item(kube.SERVICE_ACCOUNT, pod.namespace, objects.PROXY_ACCOUNT) + "/token"
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.name}
        asked = {"audiences": ["istio-ca"], "expirationSeconds": _TOKEN_SECONDS, "boundObjectRef": bound}
        answer = await self._send("POST", path, {"spec": asked})
        return str(answer["status"]["token"])

    async def get(self, path: str) -> Json:
        return await self._send("GET", path, None)

    async def _send(self, method: str, path: str, body: Json | None, content_type: str = JSON) -> Json:
        headers = {"Content-Type": content_type}
        data = json.dumps(body) if body is not None else None
        async with self._http.request(method, self._url + path, data=data, headers=headers) as answer:
            content = await answer.read()
            assert answer.status < 400, f"{method} {path}: {answer.status} {content[:500]!r}"
            found: Json = json.loads(content)
            return found


@contextlib.asynccontextmanager
async def opened(plane: ControlPlane) -> AsyncIterator[Api]:
    context = ssl.create_default_context(cafile=str(plane.ca))
    context.load_cert_chain(plane.folder / "admin.crt", plane.folder / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context, limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Api(http, plane.url)


async def together(works: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """What all of them give, in their order; so many run at a time as there are connections."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(work: Coroutine[None, None, T]) -> T:
        async with turns:
            return await work

    return await asyncio.gather(*(one(work) for work in works))


async def fill(api: Api, size: Size, say: Callable[[str], None]) -> None:
    """Write the whole cluster, and see every pod ready."""
    await together(map(api.create, objects.first(size)))
    await together(map(api.create, objects.accounts(size)))
    await together(map(api.create, objects.services(size)))
    say(f"{size.services} services written")
    await together(map(api.create, objects.policies(size)))
    await together(map(api.create, objects.pods(size)))
    say(f"{size.pods} pods written")
    pods = [*objects.pod_names(size), *objects.proxies(size)]
    await together(api.report(pod, objects.status(pod)) for pod in pods)
    say(f"{size.pods} pods ready")
