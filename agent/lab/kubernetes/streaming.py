"""The HTTPS end of a node's kubelet: the logs of its containers, and ports of its pods' loopback.

The API server passes on to it what `kubectl logs` and whoever forwards a port ask for. Ports are forwarded over
WebSockets, as clients of v4.channel.k8s.io ask: two channels for each port, of data and of errors, and the first
message of each is the port's number, two bytes, the low one first. kubectl itself asks over SPDY, which no library for
Python speaks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import logging
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import ConfigError, WeftError
from agent.lab import namespaces
from agent.lab.addresses import NodePlan

logger = logging.getLogger(__name__)

PORT: Final = 10250  # a kubelet's
_PROTOCOL: Final = "v4.channel.k8s.io"
_CHUNK: Final = 64 * 1024
_CONNECT_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Access:
    """How to get at what the kubelet runs; both raise NotFoundError.

    netns: of a pod, by its namespace and name: the name of its network namespace. log: of a container, by its own too.
    """

    netns: Callable[[str, str], str]
    log: Callable[[str, str, str], Path]


@contextlib.asynccontextmanager
async def serving(netns: str, node: NodePlan, client_ca: str, access: Access) -> AsyncIterator[None]:
    """Answer on the node's address while the block runs. client_ca: in PEM, of those who may ask; nobody else may."""
    routes = [
        web.get("/portForward/{namespace}/{pod}", lambda request: _forward(request, access)),
        web.get("/containerLogs/{namespace}/{pod}/{container}", lambda request: _log(request, access)),
    ]
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    listener = namespaces.inside(netns, lambda: socket.create_server((str(node.address.v4), PORT)))
    try:
        await web.SockSite(runner, listener, ssl_context=_tls(node, client_ca)).start()
        yield
    finally:
        await runner.cleanup()
        listener.close()


def client_authority(kubeconfig: Path) -> str:
    """The certificate, in PEM, of the authority of a kubeconfig's cluster; ConfigError without one."""
    try:
        found = yaml.safe_load(kubeconfig.read_text())
        context = next(each["context"] for each in found["contexts"] if each["name"] == found["current-context"])
        cluster = next(each["cluster"] for each in found["clusters"] if each["name"] == context["cluster"])
        if (data := cluster.get("certificate-authority-data")) is not None:
            return base64.b64decode(data).decode()
        return str((kubeconfig.parent / cluster["certificate-authority"]).read_text())
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError, StopIteration) as exc:
        raise ConfigError(f"kubeconfig {kubeconfig}: no certificate of the cluster's authority in it: {exc}") from exc


async def _log(request: web.Request, access: Access) -> web.Response:
    path = access.log(*(request.match_info[part] for part in ("namespace", "pod", "container")))
    try:
        text = path.read_bytes()
    except FileNotFoundError as exc:
        raise web.HTTPNotFound(text=f"no log {path.name}\n") from exc
    if lines := request.query.get("tailLines"):
        text = b"".join(text.splitlines(keepends=True)[-int(lines) :])
    return web.Response(body=text, content_type="text/plain")


async def _forward(request: web.Request, access: Access) -> web.WebSocketResponse:
    """One port; what it says when nobody listens there comes on its channel of errors."""
    port = request.query.get("port", request.query.get("ports", ""))
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise web.HTTPBadRequest(text=f"port {port!r}; accepted is one from 1 to 65535\n")
    client = web.WebSocketResponse(protocols=(_PROTOCOL,))
    await client.prepare(request)
    for channel in (b"\0", b"\1"):
        await client.send_bytes(channel + int(port).to_bytes(2, "little"))
    try:
        netns = access.netns(request.match_info["namespace"], request.match_info["pod"])
        inner = await asyncio.to_thread(namespaces.inside, netns, lambda: _connected(int(port)))
    except (OSError, WeftError) as exc:
        await client.send_bytes(b"\1" + f"port {port}: {exc}".encode())
    else:
        await _carry(client, inner)
    await client.close()
    return client


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS)


async def _carry(client: web.WebSocketResponse, inner: socket.socket) -> None:
    """Until either side ends."""
    inner.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=inner)

    async def inwards() -> None:
        async for message in client:
            if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
                writer.write(message.data[1:])
                await writer.drain()

    async def outwards() -> None:
        while data := await reader.read(_CHUNK):
            await client.send_bytes(b"\0" + data)

    with contextlib.closing(writer):
        tasks = [asyncio.ensure_future(inwards()), asyncio.ensure_future(outwards())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome


def _tls(node: NodePlan, client_ca: str) -> ssl.SSLContext:
    """A certificate of its own, as a kubelet without another has; its clients' are checked."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node.name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(node.address.v4)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.NamedTemporaryFile() as file:  # the module takes keys from files only
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context
