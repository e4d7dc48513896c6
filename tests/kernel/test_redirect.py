"""Redirection of one connection: what client, proxy and server see. Two enrolled pods, a stand-in proxy."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator

import pytest

from agent import wire
from tests.support.node_world import SUPPORT, NodeWorld, PodWorld, eventually, node_world

SOMEWHERE = {4: "10.77.0.50", 6: "fd77::50"}
ANSWERED = 9999  # the stand-in answers itself there


@pytest.fixture(scope="module")
def world() -> Iterator[NodeWorld]:
    with node_world() as world:
        world.add_pod()
        world.add_pod()
        world.start_agent()
        world.start_proxy()
        for pod in world.pods:
            pod.enrol()
        assert world.pods[1].start(str(SUPPORT / "app.py"), "serve", "8080").line() == "ready"
        yield world


@pytest.fixture
def client(world: NodeWorld) -> PodWorld:
    return world.pods[0]


@pytest.fixture
def server(world: NodeWorld) -> PodWorld:
    return world.pods[1]


@pytest.mark.parametrize("family", [4, 6])
def test_a_pods_connection_goes_to_the_proxy_and_shows_as_if_it_did_not(client: PodWorld, family: int) -> None:
    target = SOMEWHERE[family]
    seen = client.answer_from(target, ANSWERED)
    assert seen["answer"]["port"] == wire.OUTBOUND_PORT
    assert seen["answer"]["target"] == [target, ANSWERED]
    assert seen["peer"] == [target, ANSWERED]
    assert seen["own"][0] == client.addresses[family == 6]


@pytest.mark.parametrize("family", [4, 6])
def test_a_socket_bound_to_the_pods_address_keeps_it(client: PodWorld, family: int) -> None:
    own = client.addresses[family == 6]
    seen = client.answer_from(SOMEWHERE[family], ANSWERED, f"s.bind(({own!r}, 0))")
    assert (seen["own"][0], seen["answer"]["client"]) == (own, own)


def test_a_v4_mapped_connection_is_redirected_and_keeps_its_form(client: PodWorld) -> None:
    seen = client.run(
        f"""
s = socket.socket(socket.AF_INET6); s.settimeout(5); s.connect(("::ffff:10.77.0.50", {ANSWERED}))
result = [s.getpeername()[0], s.getsockname()[0], json.loads(s.makefile().readline())["target"]]
"""
    )
    assert seen == ["::ffff:10.77.0.50", f"::ffff:{client.addresses[0]}", [SOMEWHERE[4], ANSWERED]]


def test_an_mptcp_connection_is_redirected(client: PodWorld) -> None:
    seen = client.run(
        f"""
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.settimeout(5); s.connect(("10.77.0.50", {ANSWERED}))
result = json.loads(s.makefile().readline())["target"]
"""
    )
    assert seen == [SOMEWHERE[4], ANSWERED]


def test_a_socket_bound_to_a_device_is_redirected(client: PodWorld) -> None:
    bind = "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')"
    assert client.answer_from(SOMEWHERE[4], ANSWERED, bind)["answer"]["target"] == [SOMEWHERE[4], ANSWERED]


def test_a_mark_does_not_exempt(client: PodWorld) -> None:
    for mark in (wire.MARK_UPSTREAM, wire.MARK_LAST_HOP):
        mark_it = f"s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, {mark})"
        assert client.answer_from(SOMEWHERE[4], ANSWERED, mark_it)["answer"]["target"] == [SOMEWHERE[4], ANSWERED]


def test_a_socket_may_connect_again(client: PodWorld) -> None:
    seen = client.run(
        f"""
own = socket.create_server(("127.0.0.1", 7000))
s = socket.socket(); s.settimeout(5); s.connect(("10.77.0.50", {ANSWERED})); s.recv(500)
import ctypes
ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)  # AF_UNSPEC: disconnect
s.connect(("127.0.0.1", 7000))
result = [s.getpeername(), s.getsockname()[0]]
"""
    )
    assert seen == [["127.0.0.1", 7000], "127.0.0.1"]


@pytest.mark.parametrize("family", [4, 6])
def test_the_server_sees_the_clients_address(client: PodWorld, server: PodWorld, world: NodeWorld, family: int) -> None:
    address = server.addresses[family == 6]
    assert client.answer_from(address, 8080)["answer"]["client"][0] == client.addresses[family == 6]
    assert world.from_outside(address, 8080)["client"][0] == {4: "10.77.0.1", 6: "fd77::1"}[family]


@pytest.mark.parametrize("family", [4, 6])
def test_what_comes_from_outside_is_steered_whatever_its_port(server: PodWorld, world: NodeWorld, family: int) -> None:
    address = server.addresses[family == 6]
    seen = world.from_outside(address, ANSWERED)
    assert (seen["port"], seen["target"]) == (wire.INBOUND_PORT, [address, ANSWERED])
    # The stand-in's listener for tunnels goes to 8080 whatever is asked.
    assert world.from_outside(address, wire.HBONE_PORT)["local"] == [address, 8080]


def test_a_closed_port_of_the_app_refuses_at_once(client: PodWorld, server: PodWorld) -> None:
    start = time.monotonic()
    assert client.answer_from(server.addresses[0], 8081).get("answer") is None
    assert client.answer_from(server.addresses[1], 8081).get("answer") is None
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "10.77.0.12", "fd77::12"])
def test_calls_of_a_pod_to_itself_are_left_alone(server: PodWorld, address: str) -> None:
    seen = server.answer_from(address, 8080)
    assert seen["answer"]["client"] == seen["own"]
    assert seen["peer"] == [address, 8080]


@pytest.mark.parametrize("port", wire.PROXY_PORTS)
def test_nobody_but_a_proxy_may_bind_its_ports(client: PodWorld, port: int) -> None:
    seen = client.run(
        f"""
result = []
for family, kind, address in ((2, 1, "0.0.0.0"), (2, 1, "127.0.0.1"), (10, 1, "::"), (2, 2, "0.0.0.0"), (10, 2, "::1")):
    try:
        socket.socket(family, kind).bind((address, {port}))
        result.append(0)
    except OSError as exc:
        result.append(exc.errno)
"""
    )
    assert seen == [errno.EPERM] * 5


def test_udp_is_left_alone(client: PodWorld, world: NodeWorld) -> None:
    server = world.start_outside(
        "-c",
        "import socket; s = socket.socket(2, 2); s.bind(('10.77.0.1', 53)); print('ready', flush=True); "
        "data, peer = s.recvfrom(100); s.sendto(peer[0].encode(), peer)",
    )
    assert server.line() == "ready"
    seen = client.run(
        "s = socket.socket(2, 2); s.settimeout(5); s.connect(('10.77.0.1', 53)); s.send(b'x'); "
        "result = [s.recv(100).decode(), s.getpeername()]"
    )
    assert seen == [client.addresses[0], ["10.77.0.1", 53]]


def test_a_client_that_closes_at_once_loses_no_destination(
    client: PodWorld, server: PodWorld, world: NodeWorld
) -> None:
    counted = client.run(
        """
for _ in range(200):
    s = socket.socket(); s.connect(("10.77.0.12", 8080)); s.close()
result = 200
"""
    )
    assert counted == 200
    eventually(lambda: world.unfinished() == [0, 0])
    assert world.metric('weft_redirection_events_total{event="no_memory"}') == 0


def test_a_direct_call_of_the_listener_has_no_destination(client: PodWorld) -> None:
    assert client.answer_from("127.0.0.1", wire.OUTBOUND_PORT).get("answer") is None
