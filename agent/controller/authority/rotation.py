"""Follows the Secrets that hold the mesh's authority, and brings about what they ask for, step by step.

Every controller does so. What they agree on is in the record (ca_record.py): each write holds only against the version
that it was worked out from, so whoever is slower works it out again, from what the faster one has written. trust.py
has the rules. A Secret that cannot be used changes nothing: the last good authority goes on, and the problem is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from agent.backoff import delays, jitter
from agent.controller.authority import record as ca_record
from agent.controller.authority import secret as ca_secret
from agent.controller.authority import trust
from agent.controller.authority.ca import Authority, self_sign
from agent.controller.authority.in_force import InForce
from agent.controller.authority.trust import Periods, Trust
from agent.errors import ConfigError, ConflictError, NotFoundError, WeftError
from agent.kube import SECRET, ChangeType, Cluster, Object
from agent.wire import SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)

NAMES: Final = (ca_secret.PLUGGED_IN, ca_secret.OWN, ca_record.NAME)
WATCHED: Final = tuple(replace(SECRET, namespace=SYSTEM_NAMESPACE, named=name) for name in NAMES)
LOOK_SECONDS: Final = 60.0  # how often the time is compared, lest a clock that is set delays a step for long
_FIRST_RETRY_SECONDS: Final = 0.5
_LAST_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class OwnRoot:
    """The root that controllers make: how long it lives, and the last part of that in which a new one takes over."""

    lifetime: timedelta
    grace_percent: int

    def due(self, root: Authority) -> datetime | None:
        """When it is time for a new one; None for what somebody else has signed, which is theirs to renew."""
        if root.intermediates:
            return None
        return root.expires - (root.expires - root.root.not_valid_before_utc) * self.grace_percent / 100


class Rotation:
    """Owns what is known of the Secrets. Await begin(), then run()."""

    def __init__(self, cluster: Cluster, periods: Periods, own: OwnRoot, clock: Callable[[], datetime]) -> None:
        self._cluster, self._periods, self._own, self._clock = cluster, periods, own, clock
        self._stored: dict[str, Object] = {}
        self._news = asyncio.Event()
        self._problem = ""
        self._due: datetime | None = None
        self._trust: Trust | None = None
        self._in_force: InForce | None = None

    @property
    def in_force(self) -> InForce:
        """Once it has begun."""
        assert self._in_force is not None
        return self._in_force

    def problems(self) -> list[str]:
        """What is wrong with the Secrets, and what holds therefore."""
        return [f"{self._problem}; the last good authority goes on"] if self._problem else []

    async def begin(self) -> None:
        """Find an authority, or make one. ConfigError when there is one, and it cannot be used."""
        await self._read()
        await self._settle()

    async def run(self) -> None:
        """For ever: do what becomes due. What fails is logged once, and tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            pauses = delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS, jitter)
            while True:
                await self._wait()
                try:
                    await self._settle()
                    pauses = delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS, jitter)
                except WeftError as exc:
                    logger.warning("the authority cannot be looked after now", extra={"reason": exc})
                    await asyncio.sleep(next(pauses))
                    self._news.set()

    async def _wait(self) -> None:
        """Until a Secret has changed, or something is due."""
        left = (self._due - self._clock()).total_seconds() if self._due else LOOK_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(left, 0.0), LOOK_SECONDS)):
                await self._news.wait()
        self._news.clear()

    async def _follow(self) -> None:
        seen: dict[str, Object] = {}
        is_whole = False
        async with contextlib.aclosing(self._cluster.watch(WATCHED)) as changes:
            async for change in changes:
                if change.object is not None:
                    name = change.object["metadata"]["name"]
                    seen.pop(name, None)
                    if change.type is not ChangeType.DELETED:
                        seen[name] = change.object
                is_whole = is_whole or change.type is ChangeType.SYNCED
                if is_whole:
                    self._stored = dict(seen)
                    self._news.set()

    async def _read(self) -> None:
        self._stored = {name: found for name in NAMES if (found := await self._find(name)) is not None}

    async def _find(self, name: str) -> Object | None:
        try:
            return await self._cluster.get(SECRET, SYSTEM_NAMESPACE, name)
        except NotFoundError:
            return None

    async def _settle(self) -> None:
        while True:
            try:
                return await self._bring_about()
            except (ConflictError, NotFoundError):  # another controller, or a person, was faster
                await self._read()

    async def _bring_about(self) -> None:
        """One step, recorded and then in force."""
        now = self._clock()
        recorded = await self._recorded()
        try:
            wanted = await self._wanted(now)
        except ConfigError as exc:
            self._keep(recorded, exc)
            return
        new = trust.step(recorded, wanted, now, self._periods) if recorded else trust.begun(wanted, now)
        if new != recorded:
            await self._record(new)
        moments = (trust.due(new, wanted, self._periods), self._renewal(wanted))
        self._due = min((each for each in moments if each is not None), default=None)
        self._problem = ""
        self._bring_into_force(new)

    def _keep(self, recorded: Trust | None, problem: ConfigError) -> None:
        """Go on with the last good authority."""
        last = recorded or self._trust
        if last is None:
            raise problem
        if str(problem) != self._problem:
            logger.error("the last good authority goes on", extra={"reason": problem})
        self._problem = str(problem)
        self._due = None
        self._bring_into_force(last)

    async def _recorded(self) -> Trust | None:
        secret = self._stored.get(ca_record.NAME)
        if secret is None:
            return None
        try:
            return ca_record.read(secret)
        except ConfigError as exc:
            if self._trust is None:
                raise ConfigError(f"{exc}; a mesh without this Secret trusts at once what the others hold") from exc
            logger.error("the record is put right", extra={"reason": exc})
            await self._record(self._trust)
            return self._trust

    async def _wanted(self, now: datetime) -> Authority:
        """What the Secrets ask for; ConfigError if it cannot be used."""
        plugged_in, own = self._stored.get(ca_secret.PLUGGED_IN), self._stored.get(ca_secret.OWN)
        if plugged_in is not None:
            return ca_secret.read(plugged_in, now)
        if own is None:
            return ca_secret.read(await self._make(now), now)
        found = ca_secret.read(own, now)
        renewal = self._own.due(found)
        is_due = renewal is not None and now >= renewal
        return ca_secret.read(await self._renew(own, now), now) if is_due else found

    def _renewal(self, wanted: Authority) -> datetime | None:
        return None if ca_secret.PLUGGED_IN in self._stored else self._own.due(wanted)

    async def _make(self, now: datetime) -> Object:
        logger.info("making a root of our own", extra={"secret": f"{SYSTEM_NAMESPACE}/{ca_secret.OWN}"})
        return await self._create(ca_secret.own(self._new_root(now)))

    async def _renew(self, old: Object, now: datetime) -> Object:
        logger.info("renewing our own root", extra={"secret": f"{SYSTEM_NAMESPACE}/{ca_secret.OWN}"})
        version = {"resourceVersion": old["metadata"]["resourceVersion"]}
        return await self._patch(
            ca_secret.OWN, {"metadata": version, "data": ca_secret.own(self._new_root(now))["data"]}
        )

    def _new_root(self, now: datetime) -> Authority:
        return self_sign(ec.generate_private_key(ec.SECP256R1()), now, self._own.lifetime)

    async def _record(self, new: Trust) -> None:
        stored = self._stored.get(ca_record.NAME)
        if stored is None:
            await self._create(ca_record.new(new))
        else:
            await self._patch(ca_record.NAME, ca_record.patch(stored, new))

    async def _create(self, secret: Object) -> Object:
        try:
            made = await self._cluster.create(SECRET, secret)
        except NotFoundError as exc:
            raise ConfigError(f"namespace {SYSTEM_NAMESPACE} does not exist, and is where the root is kept") from exc
        self._stored[made["metadata"]["name"]] = made
        return made

    async def _patch(self, name: str, patch: Object) -> Object:
        self._stored[name] = await self._cluster.patch(SECRET, SYSTEM_NAMESPACE, name, patch)
        return self._stored[name]

    def _bring_into_force(self, new: Trust) -> None:
        old, self._trust = self._trust, new
        if self._in_force is None:
            self._in_force = InForce(new.authority)
        elif new.authority != self._in_force.authority:
            self._in_force.replace(new.authority)
        if old is None or old.signing != new.signing:
            logger.info("signing", extra={"root": _name(new.signing.root), "expires": new.signing.expires})
        for each in new.roots:
            if old is not None and all(each.certificate != known.certificate for known in old.roots):
                signs_at = each.since + self._periods.overlap
                logger.info("trusting a new root", extra={"root": _name(each.certificate), "signs_at": signs_at})
        for each in old.roots if old is not None else ():
            if all(each.certificate != kept.certificate for kept in new.roots):
                logger.info("trusting a root no more", extra={"root": _name(each.certificate)})


def _name(root: x509.Certificate) -> str:
    """By which people tell roots apart: their names are often the same."""
    return f"{root.subject.rfc4514_string()} {root.fingerprint(hashes.SHA256()).hex()[:16]}"
