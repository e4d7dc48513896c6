"""The process that makes a lab node's probes: its place, what it makes of answers, and that it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from agent.api.kubernetes import HttpGetAction, TcpSocketAction
from agent.api.pods.containers import Header, HttpProbe
from agent.lab import cgroups, namespaces
from agent.lab.layout import Layout
from agent.lab.prober import Outcome, Prober

NODE = "node-1"
TCP, HTTP = TcpSocketAction(port=1), HttpGetAction(port=1, path="/ready")


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A lab of which nothing is there but one node's network namespace and the folder of logs."""
    layout = Layout(f"p{os.getpid()}", cgroups.find_root(Path("/proc/self/mountinfo").read_text()))
    with contextlib.ExitStack() as stack:
        layout.logs.mkdir(parents=True)
        stack.callback(shutil.rmtree, layout.root)
        stack.callback(cgroups.remove, layout.cgroup)
        namespaces.create(layout.netns(NODE))
        stack.callback(namespaces.delete, layout.netns(NODE))
        subprocess.run(["ip", "-n", layout.netns(NODE), "link", "set", "lo", "up"], check=True, timeout=10)
        yield layout


@contextlib.contextmanager
def server(layout: Layout, says: bytes, address: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """A server of the node that says this to each caller; its port, and what the callers said."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = namespaces.inside(layout.netns(NODE), lambda: socket.create_server((address, 0), family=family))
    heard: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(OSError):
                    heard.append(sock.recv(4096))
                    sock.sendall(says)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def probing(layout: Layout, work: Callable[[Prober], Awaitable[None]]) -> None:
    """Do the work with a prober that runs; no process of it is left."""

    async def run() -> None:
        prober = Prober(layout, NODE)
        running = asyncio.create_task(prober.run())
        try:
            await work(prober)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert (prober.pid, cgroups.processes(layout.cgroup)) == (None, [])

    asyncio.run(run())


def test_it_is_a_process_named_kubelet_in_the_nodes_namespace_and_a_cgroup_of_its_own(layout: Layout) -> None:
    netns = Path(f"/run/netns/{layout.netns(NODE)}").stat().st_ino

    async def work(prober: Prober) -> None:
        await prober.succeeds(TCP, "127.0.0.1", 9, 1)
        process = Path(f"/proc/{prober.pid}")
        assert (process / "comm").read_text() == "kubelet\n"
        assert (process / "ns" / "net").stat().st_ino == netns
        assert cgroups.processes(layout.node_cgroup(NODE) / "system" / "kubelet") == [prober.pid]

    probing(layout, work)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_call_is_what_the_answer_makes_of_it(layout: Layout, address: str) -> None:
    async def work(prober: Prober) -> None:
        with server(layout, b"HTTP/1.1 302 Found\r\n\r\n", address) as (port, heard):
            assert await prober.succeeds(HTTP, address, port, 5) == Outcome(True)
            host = f"[{address}]" if ":" in address else address
            assert heard[0].startswith(f"GET /ready HTTP/1.1\r\nhost: {host}:{port}\r\n".encode())
            assert await prober.succeeds(TCP, address, port, 5) == Outcome(True)
        with server(layout, b"HTTP/1.1 503 Not yet\r\n\r\n", address) as (port, _):
            assert await prober.succeeds(HTTP, address, port, 5) == Outcome(False, "status 503")
        for action in (HTTP, TCP):
            assert await prober.succeeds(action, address, port, 5) == Outcome(False, "Connection refused")

    probing(layout, work)


def test_headers_are_sent_once_and_a_host_among_them_counts(layout: Layout) -> None:
    action = HttpProbe(port=1, http_headers=(Header(name="Host", value="shop"), Header(name="X-Probe", value="1")))

    async def work(prober: Prober) -> None:
        with server(layout, b"HTTP/1.1 200 OK\r\n\r\n") as (port, heard):
            assert await prober.succeeds(action, "127.0.0.1", port, 5) == Outcome(True)
        assert heard[0].split(b"\r\n")[1] == b"host: shop"
        assert b"x-probe: 1" in heard[0]

    probing(layout, work)


def test_who_is_silent_fails_in_time_and_holds_nobody_up(layout: Layout) -> None:
    async def work(prober: Prober) -> None:
        silent = namespaces.inside(layout.netns(NODE), lambda: socket.create_server(("127.0.0.1", 0)))
        with silent, server(layout, b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
            slow = asyncio.create_task(prober.succeeds(HTTP, "127.0.0.1", silent.getsockname()[1], 2))
            assert await prober.succeeds(HTTP, "127.0.0.1", port, 10) == Outcome(True)
            assert not slow.done()
            assert await slow == Outcome(False, "no answer within 2 s")

    probing(layout, work)


def test_a_prober_that_is_killed_fails_what_it_was_asked_and_comes_back(layout: Layout) -> None:
    async def work(prober: Prober) -> None:
        silent = namespaces.inside(layout.netns(NODE), lambda: socket.create_server(("127.0.0.1", 0)))
        with silent, server(layout, b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
            waiting = asyncio.create_task(prober.succeeds(HTTP, "127.0.0.1", silent.getsockname()[1], 60))
            assert await prober.succeeds(HTTP, "127.0.0.1", port, 10) == Outcome(True)
            first = prober.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert await waiting == Outcome(False, f"the kubelet of {NODE} has no process that probes")
            assert await prober.succeeds(HTTP, "127.0.0.1", port, 10) == Outcome(True)
            assert prober.pid != first

    probing(layout, work)
