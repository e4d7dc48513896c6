"""What an attacker or bad luck does to a mesh, and what comes of it: no harm to others, nothing in the clear."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.lab.capture import recorded
from agent.lab.session import until
from agent.proto import zds_pb2
from agent.wire import ADMIN_PORT, HBONE_PORT
from tests.support.mesh import Mesh

ROOT = Path(__file__).parents[2]
ENOUGH = 1100  # more handshakes than a pod may have at a time
HELD_PORT = 7777

# Accepts one connection and holds it; says how it ends.
HOLDER = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", int(sys.argv[1])))
listener.listen()
print("listening", flush=True)
held = listener.accept()[0]
try:
    print("ended" if held.recv(1) == b"" else "data", flush=True)
except ConnectionResetError:
    print("reset", flush=True)
"""
CALLER = """
import socket, sys
held = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
print("connected", flush=True)
try:
    print("ended" if held.recv(1) == b"" else "data", flush=True)
except ConnectionResetError:
    print("reset", flush=True)
"""
# A pod's process that claims to be a node proxy, then calls another pod.
IMPOSTOR = f"""
import socket, sys
sys.path.insert(0, {str(ROOT)!r})
path, peer, hello = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
agent.settimeout(10)
try:
    agent.connect(path)
    agent.send(hello)
    print("given", agent.recv(2000)[:10])
except OSError:
    print("turned away")
with socket.create_connection((peer, 8080), timeout=10) as call:
    call.sendall(b"GET / HTTP/1.0\\r\\nX-Secret: impostor\\r\\n\\r\\n")
    print(call.recv(12).decode())
"""


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def answers(mesh: Mesh) -> None:
    until("the shop answers", lambda: mesh.curl("http://web.shop/").returncode == 0, timeout=30)


@contextlib.contextmanager
def calls(mesh: Mesh, port: int, number: int) -> Iterator[list[socket.socket]]:
    """Connections from outside the mesh to the web pod, which say nothing; without those that were reset at once."""
    with contextlib.ExitStack() as stack:
        address = mesh.pod("shop/web")["addresses"][0]
        made = []
        for _ in range(number):
            # The proxy may take a connection, and refuse it for want of a descriptor, before connect() has returned.
            with contextlib.suppress(ConnectionResetError):
                made.append(stack.enter_context(mesh.connect("outside/client", address, port)))
        assert made
        yield made


@pytest.mark.parametrize("proxy", ["node-1-proxy", "node-2-proxy"])
def test_a_connection_that_a_dying_proxy_cuts_does_not_look_as_if_it_had_ended_well(mesh: Mesh, proxy: str) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    with mesh.lab.started("shop/web", sys.executable, "-c", HOLDER, str(HELD_PORT)) as server:
        assert server.stdout and server.stdout.readline() == "listening\n"
        with mesh.lab.started("shop/frontend", sys.executable, "-c", CALLER, address, str(HELD_PORT)) as client:
            assert client.stdout and client.stdout.readline() == "connected\n"
            os.kill(mesh.process(proxy), signal.SIGKILL)
            assert client.stdout.readline() == "reset\n"
            assert server.stdout.readline() == "reset\n"
    answers(mesh)


def test_after_an_agent_and_then_a_proxy_died_every_pod_still_has_its_own_namespace(mesh: Mesh) -> None:
    """A pod that was given another's namespace would answer for it, with its identity."""
    for process in ("node-2-node", "node-2-node", "node-2-proxy"):
        snapshots = taken_snapshots(mesh)
        os.kill(mesh.process(process), signal.SIGKILL)
        until("a snapshot is taken", functools.partial(has_more_snapshots, mesh, snapshots), timeout=30)
    served = json.loads(mesh.scrape("node-2", ADMIN_PORT, "/config_dump"))["pods"]
    assert {pod["name"] for pod in served} == {"web", "greeter", "redis"}
    for pod in served:
        netns = Path("/run/netns") / f"weft-{mesh.lab.name}-pod-{pod['uid'][:8]}"
        assert netns.stat().st_ino == pod["netnsInode"], pod["name"]
    answers(mesh)


def taken_snapshots(mesh: Mesh) -> int:
    """How often node 2's agent has given a proxy all its pods."""
    return mesh.lab.log("node-2-node").count("node proxy connected")


def has_more_snapshots(mesh: Mesh, than: int) -> bool:
    return taken_snapshots(mesh) > than


def test_a_pod_that_claims_to_be_a_node_proxy_stays_in_the_mesh(mesh: Mesh) -> None:
    path = str(mesh.lab.folder / "node-1" / "ztunnel.sock")
    hello = zds_pb2.ZdsHello(version=zds_pb2.V1).SerializeToString().hex()
    peer = mesh.pod("shop/web")["addresses"][0]
    with recorded(mesh.lab.netns("node-1")) as wire:
        done = mesh.lab.run("shop/frontend", sys.executable, "-c", IMPOSTOR, path, peer, hello)
    assert done.stdout == "turned away\nHTTP/1.1 200\n", done.stderr
    assert wire.ports() == {HBONE_PORT}
    assert not wire.carries("impostor")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_pod_reaches_itself_through_its_own_service(mesh: Mesh, family: int) -> None:
    address = mesh.service("shop/web")[family]
    host = f"[{address}]" if ":" in address else address
    assert mesh.curl(f"http://{host}/", pod="shop/web").returncode == 0


def test_a_flood_of_silent_handshakes_keeps_nobody_out_and_costs_the_oldest_their_place(mesh: Mesh) -> None:
    proxy = mesh.process("node-2-proxy")
    before = descriptors(proxy)
    with calls(mesh, HBONE_PORT, ENOUGH) as silent:
        assert silent[0].recv(1) == b""
        mesh.lab.run("shop/frontend", "true")
        assert mesh.curl("http://web.shop/").returncode == 0
        assert descriptors(proxy) < before + ENOUGH
    until("the descriptors are given back", lambda: descriptors(proxy) < before + 50)


def test_a_proxy_without_descriptors_waits_idly_and_heals(mesh: Mesh) -> None:
    proxy = mesh.process("node-2-proxy")
    limit = descriptors(proxy) + 10

    def allow(number: int) -> None:
        subprocess.run(["prlimit", "--pid", str(proxy), f"--nofile={number}:"], check=True)

    def seconds() -> float:
        fields = Path(f"/proc/{proxy}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    allow(limit)
    try:
        with calls(mesh, 8080, 60):
            before = seconds()
            assert mesh.curl("http://web.shop/", "--max-time", "2").returncode != 0
            assert seconds() - before < 0.5
        answers(mesh)
    finally:
        allow(20_000)
    assert mesh.process("node-2-proxy") == proxy
