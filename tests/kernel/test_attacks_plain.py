"""Plain TCP into an enrolled pod under attack: floods of connections, and what nobody reads."""

from __future__ import annotations

import contextlib

import pytest

from agent.lab.session import until
from agent.wire import INBOUND_PORT, OUTBOUND_PORT
from tests.support import attacker
from tests.support.attacker import bounded, bystander, failed
from tests.support.mesh import Mesh

PATIENCE = 3.0
MOST_BUFFERED_MB = 0.3  # one read of a connection


@pytest.fixture(scope="module")
def proxy(mesh: Mesh) -> int:
    return mesh.process("node-2-proxy")


def test_hundreds_of_silent_connections_cost_little(mesh: Mesh, proxy: int) -> None:
    with attacker.deaf_app(mesh, 7793), bounded(proxy, 20), attacker.flood(mesh, 7793, 400):
        assert bystander(mesh) < PATIENCE


def test_what_an_app_does_not_read_is_one_buffer_a_connection(mesh: Mesh, proxy: int) -> None:
    number = 60
    with (
        attacker.deaf_app(mesh, 7794),
        bounded(proxy, number * MOST_BUFFERED_MB),
        attacker.flood(mesh, 7794, number) as crowd,
    ):
        for sock in crowd:
            sock.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                sock.sendall(bytes(64 << 20))
        assert bystander(mesh) < PATIENCE


@pytest.mark.parametrize("port", [OUTBOUND_PORT, INBOUND_PORT])
def test_the_proxys_own_ports_are_nobodys_from_outside(mesh: Mesh, proxy: int, port: int) -> None:
    before = failed(mesh, "DENY")
    with bounded(proxy, 10), contextlib.suppress(ConnectionResetError), attacker.flood(mesh, port, 1) as crowd:
        assert crowd[0].recv(1) == b""
    until("it is counted", lambda: failed(mesh, "DENY") == before + 1)
    assert bystander(mesh) < PATIENCE
