"""The HTTP ports of every process under attack: few connections, small requests, no way to anything but the pages."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest

from agent.admin import MOST_CONNECTIONS
from agent.lab import namespaces
from agent.lab.session import until
from agent.wire import ADMIN_PORT, DEBUG_PORT, METRICS_PORT, NODE_HEALTH_PORT, READINESS_PORT
from tests.support.attacker import bounded, bystander, counted
from tests.support.mesh import Mesh

MANY = 200
# Where each process answers, a page of its own there, and where its counters are.
SERVERS = {
    "node proxy's admin": ("node-2", "node-2-proxy", ADMIN_PORT, "/config_dump", METRICS_PORT),
    "node proxy's metrics": ("node-2", "node-2-proxy", METRICS_PORT, "/metrics", METRICS_PORT),
    "node proxy's readiness": ("node-2", "node-2-proxy", READINESS_PORT, "/healthz/ready", METRICS_PORT),
    "node agent's metrics": ("node-2", "node-2-node", DEBUG_PORT, "/metrics", DEBUG_PORT),
    "node agent's health": ("node-2", "node-2-node", NODE_HEALTH_PORT, "/healthz", DEBUG_PORT),
    "controller's": ("control", "controller", DEBUG_PORT, "/debug/syncz", DEBUG_PORT),
}
SLOW = 3.0


class Server:
    """One of them, as a client on its loopback."""

    def __init__(self, mesh: Mesh, which: str) -> None:
        node, process, self.port, self.page, self._counters = SERVERS[which]
        self._netns = mesh.lab.netns(node)
        self.pid = mesh.process(process)

    def connect(self, number: int = 1) -> list[socket.socket]:
        def work() -> list[socket.socket]:
            return [socket.create_connection(("127.0.0.1", self.port), timeout=10) for _ in range(number)]

        return namespaces.inside(self._netns, work)

    def ask(self, request: bytes) -> bytes:
        """All that is answered to a request, whose connection is then closed."""
        with self.connect()[0] as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while data := sock.recv(65536):
                    answer += data
            return answer

    def dropped(self) -> float:
        return counted(self._fetch(self._counters, "/metrics"), "weft_admin_connections_dropped_total")

    def seconds(self) -> float:
        """How long its page takes now."""
        begun = time.monotonic()
        self._fetch(self.port, self.page)
        return time.monotonic() - begun

    def _fetch(self, port: int, path: str) -> str:
        def ask() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return str(answer.read().decode())

        return namespaces.inside(self._netns, ask)


@pytest.fixture(scope="module", params=SERVERS)
def server(mesh: Mesh, request: pytest.FixtureRequest) -> Server:
    return Server(mesh, request.param)


@contextlib.contextmanager
def crowd(server: Server, said: bytes) -> Iterator[list[socket.socket]]:
    """Every other one says that, the rest nothing."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(sock) for sock in server.connect(MANY)]
        for sock in held[::2]:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(said)
        yield held


def test_a_crowd_costs_the_oldest_their_place_and_nobody_else_anything(mesh: Mesh, server: Server) -> None:
    before = server.dropped()
    with bounded(server.pid, 25), crowd(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ") as held:
        assert server.seconds() < SLOW
        assert bystander(mesh) < SLOW
        until("few are left", lambda: sum(map(is_open, held)) <= MOST_CONNECTIONS, timeout=5)
    until("they are counted", lambda: server.dropped() >= before + MANY - MOST_CONNECTIONS)


def is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_whoever_asks_and_does_not_read_holds_few_answers(mesh: Mesh, server: Server) -> None:
    asked = f"GET {server.page} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 200
    with bounded(server.pid, 60), crowd(server, asked):
        assert server.seconds() < 10
        assert bystander(mesh) < SLOW


HEAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
REFUSED = {
    "a long line": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", {400}),
    "a long header": (HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n", {400}),
    "many headers": (HEAD + b"X: a\r\n" * 10_000 + b"\r\n", {400}),
    "another method": (HEAD.replace(b"GET", b"DELETE") + b"\r\n", {404, 405}),
    "a tunnel": (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404, 405}),
    "a proxy's request": (b"GET http://10.0.0.1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404, 200}),
    "a way up": (HEAD.replace(b"/metrics", b"/../../../../etc/passwd") + b"\r\n", {404}),
    "an encoded way up": (HEAD.replace(b"/metrics", b"/%2e%2e/%2e%2e/etc/passwd") + b"\r\n", {404}),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", {400}),
    "no request": (b"\0" * 2000 + b"\r\n\r\n", {400}),
}


def test_a_request_that_is_none_of_the_pages_is_refused(server: Server) -> None:
    with bounded(server.pid, 10):
        answers = {which: server.ask(request) for which, (request, _) in REFUSED.items()}
    wrong = {which: answer[:100] for which, answer in answers.items() if code(answer) not in REFUSED[which][1]}
    assert wrong == {}


def code(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_body_without_end_is_not_kept(mesh: Mesh) -> None:
    server = Server(mesh, "node proxy's admin")
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    with bounded(server.pid, 10), server.connect()[0] as sock:
        sock.sendall(b"POST /logging HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(chunk)
        assert server.seconds() < SLOW


def test_the_admin_page_is_not_there_for_pods(mesh: Mesh) -> None:
    gateway = mesh.lab.run("outside/client", "ip", "route", "show", "default").stdout.split()[2]
    with mesh.connect("outside/client", gateway, READINESS_PORT):
        pass
    with pytest.raises(ConnectionRefusedError):
        mesh.connect("outside/client", gateway, ADMIN_PORT)
