"""What an attacker sends, and what comes of it: raw HTTP/2 frames, floods, a process's memory and counters."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from agent.lab import namespaces
from agent.model import Identity
from agent.wire import HBONE_PORT, METRICS_PORT
from tests.support.hbone import Credentials, Tunnel
from tests.support.mesh import Mesh

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
SEND_BUFFERS = Path("/proc/sys/net/ipv4/tcp_wmem")  # of the network namespace of whoever opens it
ATTACKER = Identity("outside", "default")
_HEAD = struct.Struct("!BHBBI")


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None) -> bytes:
    """One HTTP/2 frame (RFC 9113, 4.1); `length` may lie."""
    size = len(payload) if length is None else length
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def connect_request(authority: str, *more: tuple[str, str]) -> bytes:
    """The header block of a CONNECT, as HPACK literals without indexing (RFC 7541, 6.2.2)."""

    def text(value: str) -> bytes:
        raw = value.encode()
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        left, sizes = len(raw) - 127, [127]
        while left >= 128:
            sizes.append(left % 128 + 128)
            left //= 128
        return bytes([*sizes, left]) + raw

    fields = ((":method", "CONNECT"), (":authority", authority), *more)
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def settings(**values: int) -> bytes:
    """A SETTINGS frame, by the numbers' names here."""
    payload = b"".join(struct.pack("!HI", globals()[name], value) for name, value in values.items())
    return frame(SETTINGS, payload)


class RawTunnel:
    """A TLS connection to port 15008 on which anything can be said. Close it, or use it in a `with`."""

    def __init__(self, sock: socket.socket, shown: Credentials) -> None:
        self.tls = shown.context().wrap_socket(sock)
        self._unread = b""

    def __enter__(self) -> RawTunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()

    def begin(self, first: bytes = b"") -> None:
        """The preface and, unless given, empty settings."""
        self.tls.sendall(PREFACE + (first or settings()))

    def say(self, data: bytes, seconds: float = 1.0) -> bool:
        """Send it all; False when the other side has closed, or takes nothing for so long."""
        self.tls.settimeout(seconds)
        try:
            self.tls.sendall(data)
        except (TimeoutError, OSError):
            return False
        return True

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, stream, payload) of what the server says, until it closes."""
        self.tls.settimeout(10)
        while True:
            while len(self._unread) >= _HEAD.size:
                high, low, kind, _, stream = _HEAD.unpack_from(self._unread)
                end = _HEAD.size + (high << 16 | low)
                if len(self._unread) < end:
                    break
                payload, self._unread = self._unread[_HEAD.size : end], self._unread[end:]
                yield kind, stream, payload
            try:
                data = self.tls.recv(65536)
            except (ConnectionError, ssl.SSLError):
                return
            if not data:
                return
            self._unread += data

    def goodbye(self) -> int:
        """The error code of the GOAWAY that the server ends with."""
        return next(struct.unpack("!I", payload[4:8])[0] for kind, _, payload in self.frames() if kind == GOAWAY)


def web(mesh: Mesh) -> str:
    """The address of the pod that is attacked; it is on node 2."""
    return str(mesh.pod("shop/web")["addresses"][0])


def pod_netns(mesh: Mesh, pod: str) -> str:
    """The name of a pod's network namespace."""
    return f"weft-{mesh.lab.name}-pod-{mesh.pod(pod)['uid'][:8]}"


def raw_tunnel(mesh: Mesh) -> RawTunnel:
    """Of a client outside the shop, whose certificate is a valid one."""
    return RawTunnel(mesh.connect("outside/client", web(mesh), HBONE_PORT), mesh.credentials(ATTACKER))


@contextlib.contextmanager
def flood(mesh: Mesh, port: int, number: int) -> Iterator[list[socket.socket]]:
    """So many connections from outside to the attacked pod."""
    address = web(mesh)

    def work() -> list[socket.socket]:
        return [socket.create_connection((address, port), timeout=10) for _ in range(number)]

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(sock) for sock in namespaces.inside(pod_netns(mesh, "outside/client"), work)]


@contextlib.contextmanager
def deaf_app(mesh: Mesh, port: int) -> Iterator[str]:
    """An app in the attacked pod that accepts nothing and reads nothing; its HOST:PORT."""
    address = web(mesh)

    def work() -> socket.socket:
        app = socket.socket()
        app.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        app.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        app.bind((address, port))
        app.listen(512)
        return app

    netns = pod_netns(mesh, "shop/web")
    # What is not read shall be the proxy's burden, not the kernel's.
    before = namespaces.inside(netns, lambda: _replaced(SEND_BUFFERS, "4096 4096 8192"))
    try:
        with namespaces.inside(netns, work):
            yield f"{address}:{port}"
    finally:
        namespaces.inside(netns, lambda: _replaced(SEND_BUFFERS, before))


def _replaced(path: Path, text: str) -> str:
    before = path.read_text()
    path.write_text(text)
    return before


def bystander(mesh: Mesh) -> float:
    """Seconds that two others take at this moment, one outside the mesh and one in it, to be served by the same pod."""
    begun = time.monotonic()
    with mesh.connect("outside/client", web(mesh), 8080) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert plain.recv(12) == b"HTTP/1.1 200"
    inside = mesh.connect("outside/client", web(mesh), HBONE_PORT)
    with Tunnel(inside, mesh.credentials(Identity("shop", "frontend"))) as tunnel:
        stream, status = tunnel.connect(f"{web(mesh)}:8080")
        assert status == 200
        assert b"200 OK" in tunnel.exchange(stream, b"GET / HTTP/1.0\r\n\r\n")
    return time.monotonic() - begun


def resident_kb(pid: int) -> int:
    """The memory that a process has."""
    return int(
        next(line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    )


@contextlib.contextmanager
def bounded(pid: int, megabytes: float) -> Iterator[None]:
    """The process is alive at the end of the block and has grown by no more than that."""
    before = resident_kb(pid)
    yield
    grown = (resident_kb(pid) - before) / 1024
    print(f"grown by {grown:.1f} MB, bound {megabytes}")
    assert grown < megabytes


def failed(mesh: Mesh, flag: str, node: str = "node-2") -> float:
    """Connections that a node's proxy counts as failed with this response flag."""
    return counted(mesh.scrape(node, METRICS_PORT, "/metrics"), "istio_tcp_connections_failed_total", flag)


def counted(metrics: str, name: str, having: str = "") -> float:
    """The sum of a counter's samples whose labels contain a text."""
    rows = [row for row in metrics.splitlines() if re.match(rf"{name}[ {{]", row) and having in row]
    return sum(float(row.rpartition(" ")[2]) for row in rows)
