"""TCP between network namespaces: a listener in one, connections in another, and bytes from here to there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyroute2 import netns

CHUNK = 65536
START_SECONDS = 10
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Place:
    """An address in a network namespace, by the namespace's name; in the tests' own without one."""

    address: str
    port: int  # of a listener, 0 for any
    namespace: str = ""

    def socket(self) -> socket.socket:
        """A TCP socket there. It stays there, whoever uses it."""
        made: list[socket.socket] = []

        def make() -> None:
            if self.namespace:
                netns.setns(self.namespace)
            made.append(socket.socket())
            made[0].setblocking(False)

        thread = threading.Thread(target=make)  # which nobody needs back from where it went
        thread.start()
        thread.join()
        return made[0]


class Gate:
    """Lets a relay's connections through, or not. Set it from any thread."""

    def __init__(self) -> None:
        self.is_open = True
        self.delay_seconds = 0.0  # how much later each piece of bytes arrives


@contextlib.contextmanager
def relay(here: Place, there: Place | Sequence[Place], gate: Gate | None = None) -> Iterator[int]:
    """Whoever connects here is connected there, while the block runs; gives the port that listens.

    Of several places, which may change meanwhile, each has its turn, but for those where nobody listens. A gate that is
    shut ends what is open.
    """
    loop = asyncio.new_event_loop()
    listener = here.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((here.address, here.port))
    listener.listen()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = asyncio.run_coroutine_threadsafe(
        _serve(listener, [there] if isinstance(there, Place) else there, gate), loop
    )
    try:
        yield int(listener.getsockname()[1])
    finally:
        serving.cancel()
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result(START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        listener.close()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _serve(listener: socket.socket, there: Sequence[Place], gate: Gate | None) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    for turn in itertools.count():
        caller, _ = await loop.sock_accept(listener)
        first = turn % len(there)
        task = loop.create_task(_join(caller, (*there[first:], *there[:first]), gate))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _join(caller: socket.socket, there: Sequence[Place], gate: Gate | None) -> None:
    with caller, contextlib.suppress(OSError):  # nobody there, or gone: the caller sees its connection end
        caller.setblocking(False)
        if gate is not None and not gate.is_open:
            return
        with await _connected(there) as other:
            async with asyncio.TaskGroup() as group:
                works = [_copy(caller, other, gate), _copy(other, caller, gate), *([_shut(gate)] if gate else [])]
                tasks = [group.create_task(work) for work in works]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()


async def _connected(there: Sequence[Place]) -> socket.socket:
    """To the first place where somebody listens; OSError if there is none."""
    loop = asyncio.get_running_loop()
    for place in there:
        made = place.socket()
        try:
            await loop.sock_connect(made, (place.address, place.port))
        except OSError:
            made.close()
        else:
            return made
    raise ConnectionRefusedError


async def _shut(gate: Gate) -> None:
    while gate.is_open:  # noqa: ASYNC110 - it is set from other threads
        await asyncio.sleep(LOOK_SECONDS)


async def _copy(source: socket.socket, target: socket.socket, gate: Gate | None) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while chunk := await loop.sock_recv(source, CHUNK):
            if gate is not None and gate.delay_seconds:
                await asyncio.sleep(gate.delay_seconds)
            await loop.sock_sendall(target, chunk)
