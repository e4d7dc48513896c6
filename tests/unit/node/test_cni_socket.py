from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.metrics import NodeMetrics
from agent.node import cni_socket
from agent.node.cni_requests import LONGEST_REQUEST, Answer, Request, State
from agent.node.cni_socket import CniSocket

FINE = json.dumps(
    {
        "version": 1,
        "command": "add",
        "name": "web-1",
        "namespace": "shop",
        "uid": "u-1",
        "addresses": ["10.0.0.7"],
        "waitSeconds": 5,
    }
).encode()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Stage:
    """A served socket; pods named `stuck` are held for ever."""

    def __init__(self, path: Path, allowed_uid: int) -> None:
        self.path = path
        self.asked: list[str] = []
        self.registry = CollectorRegistry()
        self.socket = CniSocket(self.ask, NodeMetrics(self.registry), allowed_uid, ask_seconds=0.05)

    async def ask(self, request: Request, fd: int) -> Answer:
        os.fstat(fd)
        self.asked.append(request.name)
        if request.name == "stuck":
            await asyncio.Event().wait()
        if request.name == "odd":
            raise ZeroDivisionError
        return Answer(State.CAPTURED)

    async def tell(self, packet: bytes | None, fds: int = 1) -> bytes:
        """What comes back; nothing when the caller is cut. None: say nothing."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(os.fspath(self.path))
            if packet is not None:
                with contextlib.suppress(BrokenPipeError):
                    socket.send_fds(sock, [packet], [sock.fileno()] * fds)
            sock.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 8192), 5)
            return b""

    async def count(self, outcome: str, expected: float = 1.0) -> None:
        async with asyncio.timeout(5):
            labels = {"outcome": outcome}
            while self.registry.get_sample_value("weft_cni_requests_total", labels) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(folder: Path, allowed_uid: int | None = None) -> AsyncIterator[Stage]:
    before = open_descriptors()
    stage = Stage(folder / "cni.sock", os.getuid() if allowed_uid is None else allowed_uid)
    task = asyncio.ensure_future(stage.socket.serve(cni_socket.listen(stage.path)))
    try:
        yield stage
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert open_descriptors() == before


async def test_a_request_is_answered_and_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as stage:
        assert json.loads(await stage.tell(FINE)) == {"state": "captured", "reason": ""}
        await stage.count("captured")
        assert stage.registry.get_sample_value("weft_cni_request_duration_seconds_count") == 1


async def test_a_caller_that_is_not_root_is_cut_before_it_is_heard(tmp_path: Path) -> None:
    async with served(tmp_path, allowed_uid=os.getuid() + 1) as stage:
        assert await stage.tell(FINE) == b""
        await stage.count("cut")
        assert stage.asked == []


@pytest.mark.parametrize(
    ("packet", "fds"),
    [
        (b"garbage", 1),
        (b"\x00" * 100, 1),
        (b"[" * LONGEST_REQUEST, 1),
        (b"x" * (LONGEST_REQUEST + 1), 1),
        (FINE, 0),
        (FINE, 2),
        (FINE, 20),
        (None, 0),
    ],
    ids=["text", "zeros", "brackets", "too long", "no descriptor", "two", "twenty", "silence"],
)
async def test_what_is_no_request_is_cut_and_the_next_one_served(
    tmp_path: Path, packet: bytes | None, fds: int
) -> None:
    async with served(tmp_path) as stage:
        assert await stage.tell(packet, fds) == b""
        await stage.count("cut")
        assert json.loads(await stage.tell(FINE))["state"] == "captured"


async def test_a_request_that_fails_in_an_unforeseen_way_ends_nobody_elses(tmp_path: Path) -> None:
    async with served(tmp_path) as stage:
        assert await stage.tell(FINE.replace(b"web-1", b"odd")) == b""
        assert json.loads(await stage.tell(FINE))["state"] == "captured"


async def test_a_pod_that_is_held_holds_up_no_other(tmp_path: Path) -> None:
    async with served(tmp_path) as stage:
        stuck = [asyncio.ensure_future(stage.tell(FINE.replace(b"web-1", b"stuck"))) for _ in range(20)]
        assert json.loads(await stage.tell(FINE))["state"] == "captured"
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_one_caller_too_many_is_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_socket, "MOST_CALLERS", 0)
    async with served(tmp_path) as stage:
        answer = json.loads(await stage.tell(FINE))
        assert (answer["state"], stage.asked) == ("waiting", [])
