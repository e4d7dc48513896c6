"""Requests to a Kubernetes API server: JSON in and out, and its refusals as our errors.

The kubernetes package brings what its configuration says: addresses, TLS, credentials, and a pod's token, which it
reads anew every minute. Its typed models stay unused: 5,000 pods take them four times as long as plain JSON.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio import client, config

from agent.errors import (
    BusyError,
    ConfigError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    WeftError,
)

Object = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
_ERRORS: Mapping[int, type[WeftError]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
}
DEFAULT_RETRY_SECONDS = 1.0
_NO_CLUSTER = "neither WEFT_STATE_DIRECTORY nor KUBECONFIG is set, and this is no pod with a service account"
# The kubernetes package checks no types: a kubeconfig of another form fails wherever it is first used.
_UNUSABLE = (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError)


def refusal(code: int, message: str, retry_after: str | None = None) -> WeftError:
    """The error for an HTTP status, or for the code of a Status object; retry_after as in the header, in seconds."""
    text = f"the API server answered {code}: {message}"
    if code == 429 or retry_after is not None:
        is_number = retry_after is not None and retry_after.isdecimal()
        return BusyError(text, float(retry_after) if retry_after and is_number else DEFAULT_RETRY_SECONDS)
    if code in _ERRORS:
        return _ERRORS[code](text)
    return RefusedError(text) if 400 <= code < 500 else UnavailableError(text)


class Connection:
    """A configured client of one API server; close it."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def open(cls, kubeconfig: Path | None, context: str | None = None) -> Connection:
        """As the kubeconfig's context says, by default its current one; without a kubeconfig, as the service account of
        the pod we are in."""
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 0  # no limit: every watch holds a connection
        try:
            if kubeconfig is None:
                config.load_incluster_config(client_configuration=configuration)
            else:
                await config.load_kube_config(
                    str(kubeconfig), context, client_configuration=configuration, persist_config=False
                )
            api = client.ApiClient(configuration)
        except _UNUSABLE as exc:
            where = f"kubeconfig {kubeconfig}" if kubeconfig else _NO_CLUSTER
            raise ConfigError(f"{where}: {exc}") from exc
        api.user_agent = "weft"
        return cls(api)

    async def close(self) -> None:
        await self._api.close()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object:
        """The object that the API server answers. Raises what `refusal` says, UnavailableError without an answer."""
        with _as_unavailable(f"{method} {path}"):
            response = await self._send(method, path, query or {}, body, content_type, REQUEST_TIMEOUT)
            content = await response.read()
        if response.status >= 400:
            raise refusal(response.status, _message(content), response.headers.get("Retry-After"))
        return _parsed(content, path)

    @contextlib.asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[Object]]:
        """A streamed answer, one object a line; it fails as `request` does, and when nothing comes for so long."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence_seconds)
        with _as_unavailable(f"GET {path}"):
            response = await self._send("GET", path, query, None, JSON, limits)
        try:
            if response.status >= 400:
                with _as_unavailable(f"GET {path}"):
                    content = await response.read()
                raise refusal(response.status, _message(content), response.headers.get("Retry-After"))
            _keep_alive(response)
            yield _objects(response, path)
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        serialized = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*serialized, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response


async def _objects(response: aiohttp.ClientResponse, path: str) -> AsyncIterator[Object]:
    while True:
        with _as_unavailable(f"GET {path}"):
            line = await response.content.readline()
        if not line:
            return
        if not line.endswith(b"\n"):
            raise UnavailableError(f"GET {path}: the stream was cut")
        yield _parsed(line, path)


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Find out within a minute that the other end has vanished: a watch may have nothing to say for longer."""
    transport = response.connection.transport if response.connection else None
    stream = transport.get_extra_info("socket") if transport else None
    if stream is not None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            stream.setsockopt(socket.IPPROTO_TCP, option, value)


@contextlib.contextmanager
def _as_unavailable(what: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise UnavailableError(f"{what}: {exc or type(exc).__name__}; is the API server there?") from exc


def _parsed(content: bytes, path: str) -> Object:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"{path}: the API server's answer is not JSON: {exc}") from exc
    if not isinstance(parsed, dict):
        raise ProtocolError(f"{path}: the API server's answer is not an object")
    return parsed


def _message(content: bytes) -> str:
    """What a Status object says, or the beginning of whatever else came."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return content[:200].decode(errors="replace").strip()
