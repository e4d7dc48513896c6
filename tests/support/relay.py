"""TCP between network namespaces: a listener in one, connections in another, and bytes from here to there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from pyroute2 import netns

CHUNK = 65536
START_SECONDS = 10


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


@contextlib.contextmanager
def relay(here: Place, there: Place) -> Iterator[int]:
    """Whoever connects here is connected there, while the block runs; gives the port that listens."""
    loop = asyncio.new_event_loop()
    listener = here.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((here.address, here.port))
    listener.listen()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = asyncio.run_coroutine_threadsafe(_serve(listener, there), loop)
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


async def _serve(listener: socket.socket, there: Place) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        caller, _ = await loop.sock_accept(listener)
        task = loop.create_task(_join(caller, there))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _join(caller: socket.socket, there: Place) -> None:
    loop = asyncio.get_running_loop()
    with caller, there.socket() as other:
        caller.setblocking(False)
        with contextlib.suppress(OSError):  # nobody there, or gone: the caller sees its connection end
            await loop.sock_connect(other, (there.address, there.port))
            async with asyncio.TaskGroup() as group:
                copies = [group.create_task(_copy(*pair)) for pair in ((caller, other), (other, caller))]
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                for copy in copies:
                    copy.cancel()


async def _copy(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while chunk := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(target, chunk)
