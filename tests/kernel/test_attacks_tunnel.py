"""Port 15008 under attack: by whoever reaches it, then by a client whose certificate is a valid one.

Each attack is bounded in memory, moves a counter or ends its own tunnel, and leaves others alone.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading

import pytest

from agent.lab.session import until
from agent.wire import HBONE_PORT
from tests.support import attacker
from tests.support.attacker import RawTunnel, bounded, bystander, failed, frame, raw_tunnel, settings, web
from tests.support.hbone import Credentials
from tests.support.mesh import Mesh

PATIENCE = 3.0  # seconds for somebody else's two connections, which take some milliseconds
PROTOCOL_ERROR, FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 1, 6, 11
REFUSED_STREAM = 7
MANY = 300


@pytest.fixture(scope="module")
def proxy(mesh: Mesh) -> int:
    return mesh.process("node-2-proxy")


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n" * 500, b"\x16\x03\x01\x40\x00" + b"\xff" * 20_000, b"\0" * 40_000]
)
def test_garbage_instead_of_a_handshake_is_counted_and_costs_nothing(mesh: Mesh, proxy: int, said: bytes) -> None:
    before = failed(mesh, "TLS_FAILURE")
    with bounded(proxy, 10), attacker.flood(mesh, HBONE_PORT, MANY) as crowd:
        for sock in crowd:
            with contextlib.suppress(OSError):
                sock.sendall(said)
        assert bystander(mesh) < PATIENCE
        until("all are counted", lambda: failed(mesh, "TLS_FAILURE") >= before + MANY)


def trickle(sock: socket.socket, stop: threading.Event) -> None:
    """The beginning of a TLS record, a byte now and then."""
    for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
        if stop.wait(0.5):
            return
        try:
            sock.sendall(bytes([byte]))
        except OSError:
            return


def until_cut(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while sock.recv(4096):
            pass  # the server's settings, which it says first


def test_whoever_does_not_come_to_the_point_is_cut_after_ten_seconds(mesh: Mesh, proxy: int) -> None:
    before, stop = failed(mesh, "TLS_FAILURE"), threading.Event()
    with contextlib.ExitStack() as stack, bounded(proxy, 10):
        crowd = stack.enter_context(attacker.flood(mesh, HBONE_PORT, 20))
        for sock in crowd:
            sock.settimeout(15)
            thread = threading.Thread(target=trickle, args=(sock, stop))
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        # Past TLS, but the HTTP/2 preface stays incomplete.
        preludes = [stack.enter_context(raw_tunnel(mesh)) for _ in range(5)]
        for each in preludes:
            each.tls.sendall(attacker.PREFACE[:10])
            each.tls.settimeout(15)
        assert bystander(mesh) < PATIENCE
        for sock in [*crowd, *(each.tls for each in preludes)]:
            until_cut(sock)
        until("all are counted", lambda: failed(mesh, "TLS_FAILURE") >= before + 25)


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (frame(attacker.DATA, b"", length=(1 << 24) - 1), FRAME_SIZE_ERROR),
        (frame(attacker.SETTINGS, b"12345"), PROTOCOL_ERROR),
        (frame(attacker.WINDOW_UPDATE, b"\0\0\0\0"), PROTOCOL_ERROR),
        (frame(attacker.DATA, b"x", stream=99), PROTOCOL_ERROR),
        (frame(attacker.HEADERS, b"\xff" * 100, flags=attacker.END_HEADERS, stream=1), PROTOCOL_ERROR),
        (
            frame(attacker.HEADERS, b"", stream=1)
            + b"".join(frame(attacker.CONTINUATION, b"", stream=1) for _ in range(20_000)),
            ENHANCE_YOUR_CALM,
        ),
    ],
    ids=["huge frame", "torn settings", "no increment", "no such stream", "bad compression", "endless headers"],
)
def test_a_tunnel_that_breaks_the_rules_is_ended_with_the_reason(
    mesh: Mesh, proxy: int, attack: bytes, code: int
) -> None:
    before = failed(mesh, "H2_HANDSHAKE_FAILURE")
    with bounded(proxy, 10), raw_tunnel(mesh) as tunnel:
        tunnel.begin()
        tunnel.say(attack)
        assert tunnel.goodbye() == code
        assert bystander(mesh) < PATIENCE
    until("it is counted", lambda: failed(mesh, "H2_HANDSHAKE_FAILURE") > before)


@pytest.mark.parametrize(
    "unit",
    [
        frame(attacker.PING, b"12345678"),
        settings(INITIAL_WINDOW_SIZE=65535),
        frame(attacker.WINDOW_UPDATE, struct.pack("!I", 1)),
        frame(200, b"unknown"),
    ],
    ids=["PING", "SETTINGS", "WINDOW_UPDATE", "unknown"],
)
def test_a_flood_of_frames_whose_answers_nobody_reads_stays_in_the_sockets(mesh: Mesh, proxy: int, unit: bytes) -> None:
    with bounded(proxy, 12), contextlib.ExitStack() as stack:
        for _ in range(4):
            tunnel = stack.enter_context(raw_tunnel(mesh))
            tunnel.begin()
            tunnel.say(unit * (4_000_000 // len(unit)))
        assert bystander(mesh) < PATIENCE


def test_streams_that_are_opened_and_reset_at_once_end_the_tunnel_or_are_given_up(mesh: Mesh, proxy: int) -> None:
    request = attacker.connect_request(f"{web(mesh)}:8080")
    with bounded(proxy, 20), raw_tunnel(mesh) as tunnel:
        tunnel.begin()
        for turn in range(20):
            pairs = (
                frame(attacker.HEADERS, request, flags=attacker.END_HEADERS, stream=number)
                + frame(attacker.RST_STREAM, b"\0\0\0\x08", stream=number)
                for number in range(turn * 1000 + 1, turn * 1000 + 1001, 2)
            )
            tunnel.say(b"".join(pairs))
            assert bystander(mesh) < PATIENCE


def test_a_tunnel_has_two_hundred_streams_and_refuses_the_next(mesh: Mesh, proxy: int) -> None:
    with attacker.deaf_app(mesh, 7790) as app, bounded(proxy, 20), raw_tunnel(mesh) as tunnel:
        request = attacker.connect_request(app)
        tunnel.begin()
        numbers = range(1, 2 * 260, 2)
        tunnel.say(
            b"".join(frame(attacker.HEADERS, request, flags=attacker.END_HEADERS, stream=number) for number in numbers)
        )
        answered, refused = set(), set()
        for kind, stream, payload in tunnel.frames():
            if kind == attacker.HEADERS:
                answered.add(stream)
            if kind == attacker.RST_STREAM and payload == struct.pack("!I", REFUSED_STREAM):
                refused.add(stream)
            if len(answered) + len(refused) == len(numbers):
                break
        assert (len(answered), len(refused)) == (200, 60)
        assert bystander(mesh) < PATIENCE


def test_an_app_that_does_not_read_costs_at_most_a_window_a_stream(mesh: Mesh, proxy: int) -> None:
    streams = 30
    with attacker.deaf_app(mesh, 7791) as app, bounded(proxy, streams * 1.5), raw_tunnel(mesh) as tunnel:
        request = attacker.connect_request(app)
        tunnel.begin()
        assert next(tunnel.frames())[0] == attacker.SETTINGS
        # Until it is acknowledged the window is that of the protocol.
        tunnel.say(frame(attacker.SETTINGS, flags=attacker.ACK))
        for number in range(1, 2 * streams, 2):
            tunnel.say(frame(attacker.HEADERS, request, flags=attacker.END_HEADERS, stream=number))
        for number in range(1, 2 * streams, 2):
            for _ in range(64):  # the window, and no more: beyond it the stream would be ended
                tunnel.say(frame(attacker.DATA, bytes(16_384), stream=number))
        kinds = (kind for kind, _, _ in tunnel.frames() if kind in (attacker.HEADERS, attacker.RST_STREAM))
        assert [next(kinds) for _ in range(streams)] == [attacker.HEADERS] * streams
        assert bystander(mesh) < PATIENCE


def test_a_client_that_grants_no_window_costs_a_read_a_stream(mesh: Mesh, proxy: int) -> None:
    streams = 100
    request = attacker.connect_request(f"{web(mesh)}:8080")
    ask = frame(attacker.DATA, b"GET / HTTP/1.0\r\n\r\n")
    with bounded(proxy, 20), raw_tunnel(mesh) as tunnel:
        tunnel.begin(settings(INITIAL_WINDOW_SIZE=0))
        for number in range(1, 2 * streams, 2):
            opened = frame(attacker.HEADERS, request, flags=attacker.END_HEADERS, stream=number)
            tunnel.say(opened + ask[:5] + struct.pack("!I", number) + ask[9:])
        kinds = (kind for kind, _, _ in tunnel.frames() if kind in (attacker.HEADERS, attacker.DATA))
        assert [next(kinds) for _ in range(streams)] == [attacker.HEADERS] * streams
        assert bystander(mesh) < PATIENCE


def test_requests_that_never_end_hold_little_and_stop_nobody(mesh: Mesh, proxy: int) -> None:
    fragment = attacker.connect_request(f"{web(mesh)}:8080", ("baggage", "x" * 12_000))
    shown = mesh.credentials(attacker.ATTACKER)
    with bounded(proxy, 40), contextlib.ExitStack() as stack:
        for _ in range(100):
            tunnel = stack.enter_context(half_told(mesh, shown))
            tunnel.say(frame(attacker.HEADERS, fragment, stream=1))
        assert bystander(mesh) < PATIENCE


def half_told(mesh: Mesh, shown: Credentials) -> RawTunnel:
    tunnel = RawTunnel(mesh.connect("outside/client", web(mesh), HBONE_PORT), shown)
    tunnel.begin()
    return tunnel
