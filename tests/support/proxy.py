"""Stand-ins for what the node proxy talks to: engine, discovery stream, authority, node agent, clock."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.service.discovery.v3 import discovery_pb2

from agent.errors import EngineError, UnavailableError
from agent.handover import Request
from agent.metrics import Durations, Traffic
from agent.model import Identity

IDENTITY = "spiffe://cluster.local/ns/shop/sa/frontend"


class FakeEngine:
    """Remembers what it was told. Names in `rejects`, and pods in `refuses`, are turned down."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, list[tuple[str, bytes]], list[str]]] = []
        self.rejects: dict[str, str] = {}
        self.refuses: dict[str, str] = {}
        self.served: dict[str, tuple[str, str, str]] = {}
        self.netns_inodes: list[int] = []
        self.removed: list[tuple[str, float]] = []
        self.certificates: dict[str, tuple[bytes, list[bytes], list[bytes]]] = {}
        self.extra_wanted: set[str] = set()
        self.rows: list[Traffic] = []
        self.connects: list[Durations] = []
        self.handshakes: list[Durations] = []
        self.overflown = self.dropped = 0
        self.access = "info"
        self.verdicts: list[tuple[str, str, int]] = []

    def add_pod(self, uid: str, name: str, namespace: str, service_account: str, netns: int) -> None:
        self.netns_inodes.append(os.fstat(netns).st_ino)
        if uid in self.refuses:
            raise EngineError(self.refuses[uid])
        self.served[uid] = (name, namespace, service_account)

    def remove_pod(self, uid: str, drain_seconds: float) -> None:
        self.removed.append((uid, drain_seconds))
        self.served.pop(uid, None)

    def pods(self) -> list[str]:
        return sorted(self.served)

    def apply(
        self, type_url: str, changed: Sequence[tuple[str, bytes]], removed: Sequence[str]
    ) -> list[tuple[str, str]]:
        self.applied.append((type_url, list(changed), list(removed)))
        return [(name, self.rejects[name]) for name, _ in changed if name in self.rejects]

    def set_certificate(self, identity: str, key: bytes, chain: Sequence[bytes], roots: Sequence[bytes]) -> None:
        self.certificates[identity] = (key, list(chain), list(roots))

    def remove_certificate(self, identity: str) -> None:
        self.certificates.pop(identity, None)

    def wanted_identities(self) -> list[str]:
        served = {str(Identity(namespace, account)) for _, namespace, account in self.served.values()}
        return sorted(served | self.extra_wanted)

    def metrics(self) -> list[Traffic]:
        return self.rows

    def metrics_overflown(self) -> int:
        return self.overflown

    def handshake_durations(self) -> list[Durations]:
        return self.handshakes

    def connect_durations(self) -> list[Durations]:
        return self.connects

    def sockets_open(self) -> list[tuple[str, int]]:
        return [("source", 2), ("destination", 1)]

    def access_log_level(self) -> str:
        return self.access

    def set_access_log_level(self, level: str) -> None:
        self.access = level

    def access_log_dropped(self) -> int:
        return self.dropped

    def policy_counts(self) -> list[tuple[str, str, int]]:
        return self.verdicts

    def explain_arrival(self, destination: str, *, source: str | None = None, source_ip: str) -> str:
        if not source_ip[0].isdigit():
            raise EngineError(f'source_ip: "{source_ip}": invalid IP address syntax')
        return json.dumps([destination, source, source_ip])

    def explain_departure(self, pod: str, destination: str) -> str:
        return json.dumps([pod, destination])

    def connections(self) -> str:
        return "[]"

    def config_dump(self) -> str:
        return '{"workloads": [], "certificates": ["as the engine has them"]}'


class FakeController:
    """Discovery streams by script: each a list of responses, then the end (None) or an error.

    After the last stream the client waits for ever; `finished` is set then.
    """

    def __init__(self, *streams: Sequence[discovery_pb2.DeltaDiscoveryResponse | Exception]) -> None:
        self._streams = list(streams)
        self.sent: list[list[discovery_pb2.DeltaDiscoveryRequest]] = []
        self.finished = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[_FakeStream]:
        if not self._streams:
            self.finished.set()
            await asyncio.Event().wait()
        self.sent.append([])
        yield _FakeStream(list(self._streams.pop(0)), self.sent[-1])


class _FakeStream:
    def __init__(
        self,
        script: list[discovery_pb2.DeltaDiscoveryResponse | Exception],
        sent: list[discovery_pb2.DeltaDiscoveryRequest],
    ) -> None:
        self._script = script
        self._sent = sent

    async def send(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self._sent.append(request)

    async def receive(self) -> discovery_pb2.DeltaDiscoveryResponse | None:
        if not self._script:
            return None
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def a_response(
    type_url: str,
    *resources: tuple[str, str, bytes],
    removed: Sequence[str] = (),
    nonce: str = "1",
) -> discovery_pb2.DeltaDiscoveryResponse:
    """A response with (name, version, protobuf) of each resource."""
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, removed_resources=removed)
    for name, version, value in resources:
        item = response.resources.add(name=name, version=version)
        item.resource.type_url = type_url
        item.resource.value = value
    return response


class FakeClock:
    """Time that stands still unless somebody sleeps; after `most_sleeps` a sleeper never wakes."""

    def __init__(self, most_sleeps: int = 0) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []
        self.asleep = asyncio.Event()
        self._most_sleeps = most_sleeps

    def time(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) > self._most_sleeps:
            self.asleep.set()
            await asyncio.Event().wait()
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class FakeAuthority:
    """Signs what it is asked for; `failures` are raised first, one a call. Counts calls and how many run at once."""

    def __init__(self, clock: FakeClock, *failures: Exception, lifetime_seconds: float = 86400) -> None:
        self._clock = clock
        self._failures = list(failures)
        self._lifetime = timedelta(seconds=lifetime_seconds)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._issue("Root", self._key.public_key(), None)
        self.calls: list[str] = []
        self.requests: list[x509.CertificateSigningRequest] = []
        self.at_once = self.most_at_once = 0
        self.identity_instead: str | None = None
        self.key_instead: ec.EllipticCurvePrivateKey | None = None
        self.gate: asyncio.Event | None = None

    async def sign(self, identity: str, csr: bytes, seconds: float) -> list[str]:
        self.calls.append(identity)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self._failures:
                raise self._failures.pop(0)
            request = x509.load_pem_x509_csr(csr)
            self.requests.append(request)
            key = self.key_instead.public_key() if self.key_instead else request.public_key()
            leaf = self._issue("", key, self.identity_instead or identity)
            return [leaf, self.root + self.root]
        finally:
            self.at_once -= 1

    def _issue(self, name: str, key: object, identity: str | None) -> str:
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "test")])
        builder = (
            x509.CertificateBuilder(issuer, x509.Name([]) if identity else issuer, key, x509.random_serial_number())  # type: ignore[arg-type]
            .not_valid_before(self._clock.now)
            .not_valid_after(self._clock.now + self._lifetime)
        )
        if identity:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
            builder = builder.add_extension(names, critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class FakeAgent:
    """A node agent that asks by script and then goes away."""

    def __init__(self, *requests: Request | Exception) -> None:
        self._requests = list(requests)
        self.answers: list[str] = []
        self.is_closed = False

    async def receive(self) -> Request:
        if not self._requests:
            raise UnavailableError("the other end of the hand-over socket has gone")
        request = self._requests.pop(0)
        if isinstance(request, Exception):
            raise request
        return request

    async def acknowledge(self, error: str = "") -> None:
        self.answers.append(error)

    def close(self) -> None:
        self.is_closed = True


class FakeCertificates:
    """Always ready; remembers for whom."""

    def __init__(self) -> None:
        self.identities: list[str] = []
        self.refreshed = 0

    @contextlib.asynccontextmanager
    async def prepared(self, identity: str) -> AsyncIterator[None]:
        self.identities.append(identity)
        yield

    def refresh(self) -> None:
        self.refreshed += 1


@contextlib.asynccontextmanager
async def running(work: object) -> AsyncIterator[None]:
    """Run the coroutine beside the block; its own failure fails the test."""
    task = asyncio.ensure_future(work)  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(is_true: Callable[[], bool]) -> None:
    """Let the other tasks and their threads run until the condition holds; AssertionError if it never does."""
    for _ in range(5000):
        if is_true():
            return
        await asyncio.to_thread(lambda: None)
    raise AssertionError("it never came true")
