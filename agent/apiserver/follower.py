"""Keeping up with one kind of object: a list, then a watch that goes on where the last one ended.

A watch ends often: the API server closes it after some minutes, restarts, or is too busy; a connection breaks. The
next watch begins after the last version that was seen, and says only what has happened since. Versions come from the
events, and from bookmarks, which the API server sends so that a quiet kind's version does not grow old. Only when the
API server has forgotten that version (410) is everything listed anew, and compared with what is known: what is gone
meanwhile is told as deleted. So whoever follows never sees a state that was not there, and an API server that comes
back is not asked by everybody for everything at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from agent.apiserver import listing, requests
from agent.apiserver.connection import Connection, refusal
from agent.apiserver.known import Known
from agent.backoff import Jitter, Sleep, delays, jitter
from agent.errors import BusyError, ExpiredError, NotFoundError, ProtocolError, UnavailableError, WeftError
from agent.kube import Change, Kind, Object

logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.2
MOST_DELAY_SECONDS = 30.0
WATCH_SECONDS = 300  # the API server ends a watch after this; a quarter more or less, so that they do not end together
SILENCE_SECONDS = 30  # on top of that, until a watch counts as broken
SHORT_SECONDS = 1.0  # a watch that ends sooner, without an event, is no success

Deliver = Callable[[Iterable[Change]], Awaitable[None]]


class Follower:
    """Tells every change of one kind, of those objects that a field selector admits. Await first(), then follow()."""

    def __init__(
        self,
        connection: Connection,
        kind: Kind,
        deliver: Deliver,
        selector: str = "",
        *,
        sleep: Sleep = asyncio.sleep,
        factor: Jitter = jitter,
    ) -> None:
        self._connection, self._kind, self._deliver, self._selector = connection, kind, deliver, selector
        self._sleep, self._factor = sleep, factor
        self._known = Known(kind)
        self._version = ""  # the last one that was seen; empty when the kind has to be listed
        self._is_served = True
        self._failure = ""  # what was logged last, until something succeeds
        self._pause = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, factor)

    async def first(self) -> None:
        """Deliver what exists; returns once that is done, however often it has to be tried."""
        while not await self._attempt(self._list):
            pass

    async def follow(self) -> None:
        """Deliver what changes after that, for ever."""
        while True:
            if not self._is_served:
                await self._sleep(MOST_DELAY_SECONDS * self._factor())
            await self._attempt(self._watch if self._version else self._list)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it succeeded; if not, it may be tried again at once."""
        try:
            await work()
        except (ExpiredError, ProtocolError) as exc:
            logger.warning("cannot go on from here, listing anew", extra={"kind": self._kind.name, "reason": exc})
            self._version = ""
            await self._sleep(next(self._pause))
        except BusyError as exc:
            self._failed(exc)
            await self._sleep(max(next(self._pause), exc.seconds * self._factor()))
        except WeftError as exc:
            self._failed(exc)
            await self._sleep(next(self._pause))
        else:
            return True
        return False

    async def _list(self) -> None:
        try:
            version = await self._read()
        except NotFoundError:
            # Believed only of an API server that says what it serves instead: the answer empties what is known.
            if await listing.is_served(self._connection, self._kind):
                raise
            await self._deliver(self._known.listing().end())
            version = ""
        is_served = version != ""
        if is_served is not self._is_served:
            logger.info("kind is served" if is_served else "kind is not served", extra={"kind": self._kind.name})
        self._is_served = is_served
        self._version = version
        self._succeeded()

    async def _read(self) -> str:
        try:
            return await self._read_pages(is_paged=True)
        except ExpiredError:  # it took too long
            return await self._read_pages(is_paged=False)

    async def _read_pages(self, *, is_paged: bool) -> str:
        listed, version = self._known.listing(), ""
        async for page in listing.pages(self._connection, self._kind, self._selector, is_paged=is_paged):
            await self._deliver(listed.page(page.items))
            version = page.version
        await self._deliver(listed.end())
        return version

    async def _watch(self) -> None:
        seconds = int(WATCH_SECONDS * self._factor())
        query = requests.watch(self._version, seconds, self._selector)
        began = None
        clock = asyncio.get_running_loop().time
        try:
            async with self._connection.lines(
                requests.collection(self._kind), query, seconds + SILENCE_SECONDS
            ) as events:
                began = clock()
                async for event in events:
                    await self._apply(event)
                    began -= SHORT_SECONDS  # with an event it was worth it, however short
        except NotFoundError:
            self._version = ""  # is the kind still served? The list finds out
        finally:
            if began is not None and clock() - began >= SHORT_SECONDS:
                self._pause = delays(FIRST_DELAY_SECONDS, MOST_DELAY_SECONDS, self._factor)
                self._succeeded()
        if began is not None and clock() - began < SHORT_SECONDS:
            raise UnavailableError("the API server ended the watch at once")

    async def _apply(self, event: Object) -> None:
        match event:
            case {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}:
                changes = []
            case {"type": "ADDED" | "MODIFIED", "object": {"metadata": {"resourceVersion": str(version)}} as found}:
                changes = self._known.stored(requests.whole(self._kind, found))
            case {"type": "DELETED", "object": {"metadata": {"resourceVersion": str(version)}} as found}:
                changes = self._known.removed(requests.whole(self._kind, found))
            case {"type": "ERROR", "object": {"code": int(code)} as status}:
                raise refusal(code, str(status.get("message", "")))
            case _:
                raise ProtocolError(f"not an event of a watch: {str(event)[:200]}")
        await self._deliver(changes)
        self._version = version

    def _succeeded(self) -> None:
        if self._failure:
            logger.info("the API server answers again", extra={"kind": self._kind.name})
        self._failure = ""

    def _failed(self, exc: WeftError) -> None:
        if str(exc) != self._failure:
            logger.warning("cannot follow, the last state stays", extra={"kind": self._kind.name, "reason": exc})
        self._failure = str(exc)
