"""Workloads that renew their certificates and open connections to one another all the time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.proto import ca_pb2
from tests.support.controller import a_csr, connected

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
RENEWAL_SECONDS = 0.4
PATIENCE_SECONDS = 40.0


class Peer:
    """One workload: its certificate, and the roots that came with it."""

    def __init__(self) -> None:
        self.roots: list[x509.Certificate] = []
        self.issuer = b""  # the key that signed its certificate, by its identifier
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    async def renew(self, port: int, roots: bytes, token: str) -> None:
        """A new certificate from the controller on that port, of which these roots are believed."""
        key = ec.generate_private_key(ec.SECP256R1())
        async with connected(roots, port=port) as channel:
            method = channel.unary_unary(
                METHOD,
                request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
                response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
            )
            bearer = (("authorization", f"Bearer {token}"),)
            answer = await method(ca_pb2.IstioCertificateRequest(csr=a_csr(key)), metadata=bearer, timeout=10)
        *chain, trusted = answer.cert_chain
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self._contexts = tuple(_context(side, private + "".join(chain), trusted) for side in _SIDES)  # type: ignore[assignment]
        self.roots = x509.load_pem_x509_certificates(trusted.encode())
        leaf = x509.load_pem_x509_certificate(chain[0].encode())
        names = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.issuer = names.key_identifier or b""

    def connect(self, other: Peer) -> None:
        """A handshake with both certificates; ssl.SSLError when one is refused."""
        assert self._contexts is not None
        assert other._contexts is not None
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [
            self._contexts[0].wrap_bio(to_client, to_server),
            other._contexts[1].wrap_bio(to_server, to_client, server_side=True),
        ]
        for _ in range(3):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        for end in ends:
            end.do_handshake()


_SIDES = (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)


def _context(side: int, credentials: str, roots: str) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=roots)
    descriptor = os.memfd_create("peer", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w") as file:
        file.write(credentials)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context


class Peers:
    """Several of them, each with a controller of its own choice, until the block ends."""

    def __init__(self, ports: Sequence[int], roots: Callable[[], bytes], token: str, count: int = 4) -> None:
        """roots: what a workload has mounted at the moment."""
        self.members = [Peer() for _ in range(count)]
        self.failures: list[str] = []
        self.connections = 0
        self._ports, self._roots, self._token = itertools.cycle(ports), roots, token

    @contextlib.asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        for each in self.members:
            await each.renew(next(self._ports), await asyncio.to_thread(self._roots), self._token)
        tasks = [asyncio.create_task(self._renew(each)) for each in self.members]
        tasks.append(asyncio.create_task(self._connect()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(found, asyncio.CancelledError):
                    self.failures.append(repr(found))

    async def until(self, what: str, is_so: Callable[[Peer], bool]) -> None:
        """Wait until it is so of all."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(map(is_so, self.members)):
            trusted = [[each.serial_number for each in peer.roots] for peer in self.members]
            assert time.monotonic() < deadline, f"{what}: {trusted}, failures {self.failures}"
            await asyncio.sleep(0.05)

    async def _renew(self, peer: Peer) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                await peer.renew(next(self._ports), await asyncio.to_thread(self._roots), self._token)
            except grpc.aio.AioRpcError as exc:
                self.failures.append(f"renewal: {exc.details()}")

    async def _connect(self) -> None:
        while True:
            for one, other in itertools.permutations(self.members, 2):
                try:
                    one.connect(other)
                except ssl.SSLError as exc:
                    self.failures.append(f"connection: {exc}")
                self.connections += 1
            await asyncio.sleep(0.02)
