"""The real controller in a network namespace of its own, and clients that run beside it there."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.struct_pb2 import Struct
from pyroute2 import netns

from agent.lab import namespaces
from agent.proto import ca_pb2
from tests.support.signer import Signer

START_SECONDS = 20.0
SCENARIO_SECONDS = 60.0
HOST = "istiod.istio-system.svc"
Request = discovery_pb2.DeltaDiscoveryRequest
Response = discovery_pb2.DeltaDiscoveryResponse


@dataclass(frozen=True)
class Place:
    """Where a controller keeps its files, and the namespace that it runs in."""

    namespace: str
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def root_pem(self) -> bytes:
        return (self.folder / "ca/root-cert.pem").read_bytes()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "WEFT_STATE_DIRECTORY": str(self.state),
            "WEFT_CA_DIRECTORY": str(self.folder / "ca"),
            "WEFT_TOKEN_JWKS": str(self.folder / "jwks.json"),
        }


@contextlib.contextmanager
def a_place(folder: Path, signer: Signer) -> Iterator[Place]:
    """A namespace with loopback, and the public half of the token key."""
    (folder / "jwks.json").write_text(signer.key_set())
    place = Place(f"weft-test-controller-{uuid.uuid4().hex[:8]}", folder)
    namespaces.create(place.namespace)
    try:
        subprocess.run(["ip", "-n", place.namespace, "link", "set", "lo", "up"], check=True, timeout=10)
        yield place
    finally:
        namespaces.delete(place.namespace)


def command() -> list[str]:
    installed = Path(sys.executable).with_name("weft")
    if installed.exists():
        return [str(installed), "controller"]
    return [sys.executable, "-c", "from agent.controller.main import controller; controller()"]


@contextlib.contextmanager
def running(place: Place, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that has read the cluster. It must still end cleanly on SIGTERM."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", place.namespace, *command()],
        env={**place.environment, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        await_line(process, b"cluster read")
        # A pipe that nobody empties would stop it when it has logged 64 KB.
        threading.Thread(target=_read_to_the_end, args=(process.stderr,), daemon=True).start()
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait(timeout=10)


def _read_to_the_end(pipe: IO[bytes]) -> None:
    with pipe:
        while pipe.read(65536):
            pass


def await_line(process: subprocess.Popen[bytes], wanted: bytes) -> None:
    assert process.stderr is not None
    seen = b""
    deadline = time.monotonic() + START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while wanted not in seen:
            assert selector.select(deadline - time.monotonic()), f"no {wanted!r} in {seen!r}"
            chunk = os.read(process.stderr.fileno(), 65536)
            assert chunk, f"the controller ended: {seen.decode()}"
            seen += chunk


Scenario = Callable[..., Awaitable[None]]


def beside(place: Place, scenario: Scenario, *arguments: Any) -> None:
    """Run a module-level coroutine function in a process inside the namespace; its failure is ours.

    gRPC opens sockets from threads of its own, so the whole process has to be in there.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_inside, args=(place.namespace, scenario, arguments, sending))
    child.start()
    sending.close()
    try:
        assert receiving.poll(SCENARIO_SECONDS), "the scenario did not end in time"
        try:
            failure = receiving.recv()
        except EOFError:
            failure = "the process of the scenario died"
        assert not failure, failure
    finally:
        receiving.close()
        child.kill()
        child.join(timeout=10)


def _inside(namespace: str, scenario: Scenario, arguments: tuple[Any, ...], result: Any) -> None:
    try:
        netns.setns(namespace)
        asyncio.run(scenario(*arguments))
    except BaseException:
        result.send(traceback.format_exc())
        raise
    result.send("")


@contextlib.asynccontextmanager
async def connected(root_pem: bytes, host: str = HOST, *, port: int = 15012) -> AsyncIterator[grpc.aio.Channel]:
    options = (("grpc.ssl_target_name_override", host), ("grpc.enable_retries", 0))
    credentials = grpc.ssl_channel_credentials(root_pem)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        yield channel


class Stream:
    """A node proxy's discovery stream, one message at a time."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        method = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )
        self.call = method(metadata=(("authorization", f"Bearer {token}"),))

    async def ask(self, type_url: str, held: dict[str, str] | None = None) -> None:
        request = Request(type_url=type_url, initial_resource_versions=held or {})
        request.node.id = "ztunnel~10.0.0.2~weft-proxy-node-1.istio-system~istio-system.svc.cluster.local"
        await self.call.write(request)

    async def hear(self) -> Response:
        """The next response, which is acknowledged."""
        response = await asyncio.wait_for(self.call.read(), 10)
        assert isinstance(response, Response), await self.call.details()
        await self.call.write(Request(type_url=response.type_url, response_nonce=response.nonce))
        return response


def a_csr(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


async def certificate(
    channel: grpc.aio.Channel, token: str | None, identity: str, *, seconds: int = 0
) -> ca_pb2.IstioCertificateResponse:
    method = channel.unary_unary(
        "/istio.v1.auth.IstioCertificateService/CreateCertificate",
        request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
        response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
    )
    metadata = Struct()
    metadata.update({"ImpersonatedIdentity": identity})
    request = ca_pb2.IstioCertificateRequest(csr=a_csr(), validity_duration=seconds, metadata=metadata)
    bearer = () if token is None else (("authorization", f"Bearer {token}"),)
    return await method(request, metadata=bearer, timeout=10)
