"""Which of several controllers writes to the cluster: the one that holds a Lease.

The holder renews its Lease every few seconds. Whoever has seen it unchanged for as long as it is said to last takes
it; clocks of different machines are never compared. A holder that cannot renew stops writing before anybody else may
begin: RENEW_SECONDS is shorter than LEASE_SECONDS by more than a write takes to be given up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import LEASE, Cluster, Object
from agent.wire import SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)

NAME: Final = "weft-controller"
LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0

Work = Callable[[], Awaitable[None]]


class Leadership(Protocol):
    """Decides when this process does what only one may do."""

    async def run(self, work: Work) -> None:
        """For ever: do the work while we lead; it is cancelled when we no longer do, and begun anew when we do again.

        Raises what the work raises.
        """


class Alone:
    """Nobody else is there."""

    async def run(self, work: Work) -> None:
        """As Leadership."""
        await work()


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease in the state in which it has been since `since`, by our own clock."""

    lease: Object
    since: float

    def next(self, lease: Object, now: float) -> Seen:
        """The Lease as it is now; a state that is seen again keeps its age."""
        return self if lease["metadata"]["resourceVersion"] == self._version else Seen(lease, now)

    def is_free(self, now: float) -> bool:
        """Whether it may be taken: it was given back, or its holder is silent."""
        spec = self.lease.get("spec") or {}
        lasts = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        return not spec.get("holderIdentity") or now >= self.since + lasts

    @property
    def _version(self) -> str:
        return str(self.lease["metadata"]["resourceVersion"])


def taken(lease: Object, holder: str, now: datetime) -> Object:
    """The patch that takes a Lease or renews it; it fails if somebody else has written it meanwhile."""
    spec = lease.get("spec") or {}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    new = {"holderIdentity": holder, "leaseDurationSeconds": int(LEASE_SECONDS), "renewTime": stamp}
    if spec.get("holderIdentity") != holder:
        new |= {"acquireTime": stamp, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
    return {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": new}


class LeaseHolder:
    """Leads while it holds the Lease. `holder` must be this process's alone."""

    def __init__(self, cluster: Cluster, holder: str) -> None:
        self._cluster = cluster
        self._holder = holder
        self._seen: Seen | None = None
        self._failure = ""

    async def run(self, work: Work) -> None:
        """As Leadership."""
        while True:
            held = await self._acquire()
            logger.info("leading: this controller writes to the cluster", extra={"holder": self._holder})
            await self._work_while_held(work, held)
            logger.warning("leading no more: the lease could not be renewed", extra={"holder": self._holder})

    async def _acquire(self) -> Object:
        while True:
            try:
                held = await self._try()
                self._failure = ""
                if held is not None:
                    return held
            except WeftError as exc:
                self._report(exc)
            await asyncio.sleep(RETRY_SECONDS)

    async def _try(self) -> Object | None:
        """The Lease if it is ours now."""
        try:
            lease = await self._cluster.get(LEASE, SYSTEM_NAMESPACE, NAME)
        except NotFoundError:
            lease = await self._create()
        now = time.monotonic()
        self._seen = self._seen.next(lease, now) if self._seen is not None else Seen(lease, now)
        if not self._seen.is_free(now):
            return None
        try:
            return await self._write(lease)
        except ConflictError:
            return None  # somebody else was faster

    async def _create(self) -> Object:
        new: Object = {"metadata": {"name": NAME, "namespace": SYSTEM_NAMESPACE}, "spec": {}}
        try:
            return await self._cluster.create(LEASE, new)
        except ConflictError:
            return await self._cluster.get(LEASE, SYSTEM_NAMESPACE, NAME)

    async def _work_while_held(self, work: Work, held: Object) -> None:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_awaited(work))
            try:
                await self._renew(held)
            except asyncio.CancelledError:
                working.cancel()
                await asyncio.wait([working])  # nothing is written any more: another one may begin at once
                await self._give_back()
                raise
            finally:
                working.cancel()

    async def _renew(self, held: Object) -> None:
        """Keep it; returns when it is lost."""
        until = time.monotonic() + RENEW_SECONDS
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                began = time.monotonic()
                async with asyncio.timeout(until - began):
                    held = await self._write(held)
                until = began + RENEW_SECONDS
                self._failure = ""
            except (ConflictError, NotFoundError, TimeoutError):
                return
            except WeftError as exc:
                self._report(exc)
                if time.monotonic() >= until:
                    return

    async def _write(self, lease: Object) -> Object:
        return await self._cluster.patch(LEASE, SYSTEM_NAMESPACE, NAME, taken(lease, self._holder, datetime.now(UTC)))

    async def _give_back(self) -> None:
        """So that nobody has to wait until it has run out."""
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                lease = await self._cluster.get(LEASE, SYSTEM_NAMESPACE, NAME)
                if (lease.get("spec") or {}).get("holderIdentity") == self._holder:
                    version = {"resourceVersion": lease["metadata"]["resourceVersion"]}
                    patch = {"metadata": version, "spec": {"holderIdentity": ""}}
                    await self._cluster.patch(LEASE, SYSTEM_NAMESPACE, NAME, patch)
        except (WeftError, TimeoutError) as exc:
            logger.warning("the lease runs out by itself", extra={"reason": exc})

    def _report(self, exc: WeftError) -> None:
        if str(exc) != self._failure:
            logger.warning("the lease cannot be read or written", extra={"reason": exc})
        self._failure = str(exc)


async def _awaited(work: Work) -> None:
    await work()
