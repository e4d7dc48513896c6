"""Certificates of the identities of this node's pods: when to ask for one, and what to accept.

A private key is made here, goes to the engine and nowhere else. A certificate is renewed in
the middle of the life it has left, or when the mesh's roots change (roots.py); while the
authority does not answer, the one in force stays.
The engine says whose certificates are wanted; pods.py names an identity before its pod is
added, so that the pod can be served from its first connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.backoff import Jitter, Sleep, delays, jitter
from agent.errors import EngineError, RefusedError, UnavailableError, WeftError

logger = logging.getLogger(__name__)

CONCURRENCY = 8
FIRST_DELAY_SECONDS = 0.5
MOST_DELAY_SECONDS = 150.0
# An addition has 5 s in the hand-over protocol; most of it belongs to the engine.
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the authority issued. `chain` is leaf first, one PEM each, as are `roots`."""

    identity: str
    chain: tuple[bytes, ...]
    roots: tuple[bytes, ...]
    serial: int
    not_before: datetime
    not_after: datetime


class State(enum.Enum):
    """Where an identity's certificate stands."""

    INITIALIZING = "Initializing"
    AVAILABLE = "Available"
    UNAVAILABLE = "Unavailable"


@dataclass(frozen=True, slots=True)
class Status:
    """What operators see of one identity. `error` is why the last request failed."""

    identity: str
    state: State
    certificate: Certificate | None = None
    error: str = ""


class Engine(Protocol):
    """What certificates need of the engine; as agent._engine.Engine."""

    def wanted_identities(self) -> list[str]: ...
    def set_certificate(self, identity: str, key: bytes, chain: Sequence[bytes], roots: Sequence[bytes]) -> None: ...
    def remove_certificate(self, identity: str) -> None: ...


class Authority(Protocol):
    """Whoever signs."""

    async def sign(self, identity: str, csr: bytes, seconds: float) -> list[str]:
        """The chain in PEM: leaf, intermediates, last the roots. UnavailableError or RefusedError."""


# Rules


def signing_request(identity: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A PKCS#10 request in PEM with the identity as its only name."""
    extension = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def accept(identity: str, key: ec.EllipticCurvePrivateKey, answer: Sequence[str], now: datetime) -> Certificate:
    """The issued certificate; RefusedError unless it is for this identity alone, for our key, and not over."""
    try:
        parts = [x509.load_pem_x509_certificates(entry.encode()) for entry in answer]
    except ValueError as exc:
        raise RefusedError(f"{identity}: the authority's answer is not PEM certificates") from exc
    if len(parts) < 2:
        raise RefusedError(f"{identity}: the authority sent {len(parts)} entries; a leaf and its root are needed")
    *issued, roots = parts
    chain = [certificate for part in issued for certificate in part]
    leaf = chain[0]
    if _names(leaf) != [identity]:
        raise RefusedError(f"{identity}: the authority issued a certificate for {_names(leaf)}")
    if _public(leaf.public_key()) != _public(key.public_key()):
        raise RefusedError(f"{identity}: the authority issued a certificate for another key")
    if leaf.not_valid_after_utc <= now:
        raise RefusedError(f"{identity}: the authority issued a certificate that ended at {leaf.not_valid_after_utc}")
    return Certificate(
        identity=identity,
        chain=tuple(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        roots=tuple(certificate.public_bytes(Encoding.PEM) for certificate in roots),
        serial=leaf.serial_number,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def renewal_delay(certificate: Certificate, now: datetime, factor: float) -> float:
    """Seconds until it is asked for anew: half of what is left."""
    left = (certificate.not_after - now).total_seconds()
    return max(left / 2 * factor, FIRST_DELAY_SECONDS)


def retry_delay(certificate: Certificate | None, now: datetime, backoff: float) -> float:
    """Seconds until a failed request is repeated: never more than a third of what is left of the one in force."""
    if certificate is None:
        return backoff
    left = (certificate.not_after - now).total_seconds()
    return min(backoff, max(left / 3, FIRST_DELAY_SECONDS))


def state_of(certificate: Certificate | None, error: str, now: datetime) -> State:
    """Available while a certificate is in force, whatever the last request said."""
    if certificate is not None and now < certificate.not_after:
        return State.AVAILABLE
    return State.UNAVAILABLE if error or certificate is not None else State.INITIALIZING


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.value if isinstance(name, x509.UniformResourceIdentifier) else repr(name) for name in names]


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


# The owner of all certificates


class _Kept:
    """One identity: its certificate, and whether a first request has come to its end."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.certificate: Certificate | None = None
        self.error = ""
        self.tried = asyncio.Event()
        self.is_due = asyncio.Event()  # somebody wants it renewed before its time


class Certificates:
    """Keeps one task for each identity. Everything but run() may be called at any time."""

    def __init__(
        self,
        engine: Engine,
        authority: Authority,
        seconds: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Sleep = asyncio.sleep,
        factor: Jitter = jitter,
    ) -> None:
        self._engine = engine
        self._authority = authority
        self._seconds = seconds
        self._now = now
        self._sleep = sleep
        self._factor = factor
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self._kept: dict[str, _Kept] = {}
        self._expected: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None  # while run() runs
        self._is_authority_away = False

    async def run(self) -> None:
        """Follow what the engine wants, for ever."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    self._changed.clear()
                    self._reconcile()
                    await self._changed.wait()
        finally:
            self._tasks = None
            self._kept.clear()

    def refresh(self) -> None:
        """Look again at what the engine wants."""
        self._changed.set()

    def renew(self) -> None:
        """Ask for all of them anew; those in force stay until the new ones are there."""
        for kept in self._kept.values():
            kept.is_due.set()

    @contextlib.asynccontextmanager
    async def prepared(self, identity: str) -> AsyncIterator[None]:
        """Keep a certificate for a pod that is added within the block.

        Waits until the first request for it is answered either way, at most PATIENCE_SECONDS, and
        not at all while the authority is away: a pod is taken over whether or not anybody signs.
        """
        self._expected[identity] += 1
        self._reconcile()
        try:
            if not self._is_authority_away and (kept := self._kept.get(identity)):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(kept.tried.wait(), PATIENCE_SECONDS)
            yield
        finally:
            self._expected[identity] -= 1
            self.refresh()

    def statuses(self) -> list[Status]:
        """Every identity, sorted."""
        now = self._now()
        return [
            Status(identity, state_of(kept.certificate, kept.error, now), kept.certificate, kept.error)
            for identity, kept in sorted(self._kept.items())
        ]

    def expiries(self) -> dict[str, float]:
        """Unix time at which each identity's certificate expires, 0 where there is none."""
        held = {status.identity: status.certificate for status in self.statuses()}
        return {identity: each.not_after.timestamp() if each else 0.0 for identity, each in held.items()}

    def _reconcile(self) -> None:
        if self._tasks is None:
            return
        wanted = {*self._engine.wanted_identities(), *(+self._expected)}
        for identity in sorted(self._kept.keys() - wanted):
            kept = self._kept.pop(identity)
            if kept.task is not None:
                kept.task.cancel()
            self._engine.remove_certificate(identity)
            logger.info("certificate is forgotten", extra={"identity": identity})
        for identity in sorted(wanted - self._kept.keys()):
            kept = self._kept[identity] = _Kept()
            kept.task = self._tasks.create_task(self._keep(identity, kept))

    async def _keep(self, identity: str, kept: _Kept) -> None:
        pause = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor)
        while True:
            try:
                async with self._turns:
                    kept.certificate = await self._obtain(identity)
            except WeftError as exc:
                self._failed(kept, identity, exc)
                await self._rest(kept, retry_delay(kept.certificate, self._now(), next(pause)))
                continue
            kept.error = ""
            kept.tried.set()
            self._is_authority_away = False
            pause = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor)
            logger.info(
                "certificate is in force", extra={"identity": identity, "not_after": kept.certificate.not_after}
            )
            await self._rest(kept, renewal_delay(kept.certificate, self._now(), self._factor()))

    async def _rest(self, kept: _Kept, seconds: float) -> None:
        """Until it is time again, or somebody says that it is."""
        works = [asyncio.ensure_future(each) for each in (self._sleep(seconds), kept.is_due.wait())]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in works:
                each.cancel()
        kept.is_due.clear()

    async def _obtain(self, identity: str) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        answer = await self._authority.sign(identity, signing_request(identity, key), self._seconds)
        certificate = accept(identity, key, answer, self._now())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        # No await between this and the caller's next one: nobody can forget the identity in between.
        self._engine.set_certificate(identity, private, certificate.chain, certificate.roots)
        return certificate

    def _failed(self, kept: _Kept, identity: str, exc: WeftError) -> None:
        if isinstance(exc, UnavailableError):
            self._is_authority_away = True
        if str(exc) != kept.error:
            level = logging.ERROR if isinstance(exc, EngineError | RefusedError) else logging.WARNING
            logger.log(level, "no new certificate", extra={"identity": identity, "reason": exc})
        kept.error = str(exc)
        kept.tried.set()
