"""A pod that pretends to be in the mesh and answers on 15008 itself, with a certificate of its own: a hostile server.

Whoever may annotate a pod can have its peers' proxies call it. They must fail, soon and cheaply.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.lab import namespaces
from agent.lab.session import until
from agent.wire import HBONE_PORT
from tests.support import attacker
from tests.support.attacker import ATTACKER, bounded, failed, frame, pod_netns
from tests.support.claims import claims_to_be_enrolled
from tests.support.mesh import Mesh

CLAIMANT = "outside/client"
CALLS = 6
Talk = Callable[[ssl.SSLSocket], None]


def settings(number: int, value: int) -> bytes:
    return frame(attacker.SETTINGS, struct.pack("!HI", number, value))


def takes_no_streams(sock: ssl.SSLSocket) -> None:
    sock.sendall(settings(3, 0) + frame(attacker.SETTINGS, flags=attacker.ACK))


def refuses_every_stream(sock: ssl.SSLSocket) -> None:
    sock.sendall(settings(3, 100) + frame(attacker.SETTINGS, flags=attacker.ACK))
    for stream in range(1, 40, 2):
        sock.sendall(frame(attacker.RST_STREAM, struct.pack("!I", 7), stream=stream))


def leaves_at_once(sock: ssl.SSLSocket) -> None:
    sock.sendall(settings(3, 100) + frame(attacker.GOAWAY, struct.pack("!II", 0, 0)))


def answers_with_garbage(sock: ssl.SSLSocket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" * 1000)


def answers_with_endless_headers(sock: ssl.SSLSocket) -> None:
    sock.sendall(settings(3, 100) + frame(attacker.HEADERS, b"", stream=1))
    for _ in range(2000):
        sock.sendall(frame(attacker.CONTINUATION, bytes(10) + b"x" * 1000, stream=1))


def floods_with_pings(sock: ssl.SSLSocket) -> None:
    sock.sendall(settings(3, 0))
    for _ in range(20):
        sock.sendall(frame(attacker.PING, b"12345678") * 10_000)


HOSTILE: dict[str, Talk] = {
    talk.__name__: talk
    for talk in (
        takes_no_streams,
        refuses_every_stream,
        leaves_at_once,
        answers_with_garbage,
        answers_with_endless_headers,
        floods_with_pings,
    )
}


LIVING = (takes_no_streams.__name__, floods_with_pings.__name__)


@contextlib.contextmanager
def server(mesh: Mesh, talk: Talk) -> Iterator[list[float]]:
    """Talks to whoever connects, then says nothing more; one entry for each connection."""
    shown = mesh.credentials(ATTACKER)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(shown.chain + shown.key)
        context.load_cert_chain(file.name)
    listener = namespaces.inside(pod_netns(mesh, CLAIMANT), lambda: socket.create_server(("", HBONE_PORT), backlog=64))
    accepted: list[float] = []

    def serve() -> None:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            while True:
                raw = held.enter_context(listener.accept()[0])
                accepted.append(0)
                raw.settimeout(3)
                with contextlib.suppress(OSError):
                    sock = held.enter_context(context.wrap_socket(raw, server_side=True))
                    talk(sock)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield accepted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture(scope="module")
def claimed(mesh: Mesh) -> Iterator[str]:
    """An address that node proxies believe to be in the mesh."""
    with claims_to_be_enrolled(mesh, CLAIMANT):
        yield f"http://{mesh.pod(CLAIMANT)['addresses'][0]}:8099/"


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_server_costs_its_callers_few_attempts(mesh: Mesh, claimed: str, how: str) -> None:
    before = failed(mesh, "CONNECT", "node-1")
    with bounded(mesh.process("node-1-proxy"), 10), server(mesh, HOSTILE[how]) as accepted:
        loop = f"for i in $(seq {CALLS}); do curl -sS --max-time 0.5 {claimed}; done; curl -sS http://web.shop/"
        done = mesh.lab.run("shop/frontend", "sh", "-c", loop)
        assert done.stdout.startswith("catalogue for "), done.stderr
        # A tunnel that lives is not joined by others, one a worker; one that was ended is replaced once.
        assert len(accepted) <= (2 if how in LIVING else 2 * CALLS)
    until("the failures are counted", lambda: failed(mesh, "CONNECT", "node-1") > before)
