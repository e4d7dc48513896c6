"""The hand-over socket under attack: whoever is no node proxy gets no pod and no exemption."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.lab.session import until
from agent.node import cgroups, layout
from agent.node.redirect import Redirection
from agent.proto import zds_pb2
from agent.wire import DEBUG_PORT
from tests.support.attacker import bounded, bystander, counted
from tests.support.mesh import Mesh

NODE = "node-2"
HELLO = zds_pb2.ZdsHello(version=zds_pb2.V1).SerializeToString()
# Joins a cgroup, connects, says something, and tells how much it is answered until it is cut.
CALLER = """
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
agent.settimeout(20)
agent.connect(sys.argv[2])
said, count = bytes.fromhex(sys.argv[3]) * int(sys.argv[5]), int(sys.argv[4])
print("connected", flush=True)
try:
    for _ in range(count):
        agent.send(said)
    heard = 0
    while data := agent.recv(4096):
        heard += len(data)
    print("cut", heard)
except OSError:
    print("cut 0")
"""


@pytest.fixture
def cgroup(mesh: Mesh) -> Iterator[Path]:
    """One of its own below the node's, as a process must have that wants to be its proxy."""
    mount = cgroups.find_mount()
    found = cgroups.cgroup_of(mesh.process(f"{NODE}-proxy"), mount).parent / "caller"
    found.mkdir()
    try:
        yield found
    finally:
        until("it is empty", lambda: not (found / "cgroup.procs").read_text())
        found.rmdir()


@pytest.fixture
def path(mesh: Mesh) -> str:
    return str(mesh.lab.folder / NODE / "ztunnel.sock")


def metric(mesh: Mesh, name: str) -> float:
    return counted(mesh.scrape(NODE, DEBUG_PORT, "/metrics"), name)


def exempted(mesh: Mesh) -> set[int]:
    directory = mesh.lab.folder / "bpf" / NODE / layout.VERSION
    with contextlib.closing(Redirection(directory)) as kernel:
        return kernel.exempted()


@contextlib.contextmanager
def caller(cgroup: Path, path: str, said: bytes, count: int = 1, length: int = 1) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CALLER, str(cgroup), path, said.hex(), str(count), str(length)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("said", "count", "length"),
    [(b"\xff", 1, 100), (b"\0", 1, 100_000), (b"\x08\x07", 1, 1), (HELLO, 200, 1)],
    ids=["garbage", "a packet of 100 KB", "another version", "more than was asked"],
)
def test_a_caller_that_does_not_know_the_protocol_is_cut_and_counted(
    mesh: Mesh, cgroup: Path, path: str, said: bytes, count: int, length: int
) -> None:
    before, proxies = metric(mesh, "weft_handover_strangers_total"), metric(mesh, "ztunnel_connected")
    with bounded(mesh.process(f"{NODE}-node"), 5), caller(cgroup, path, said, count, length) as process:
        out, _ = process.communicate(timeout=15)
        assert out.startswith("connected\ncut ")
    until("it is counted", lambda: metric(mesh, "weft_handover_strangers_total") > before)
    until("the proxy alone is left", lambda: metric(mesh, "ztunnel_connected") == proxies)
    assert bystander(mesh) < 3


def test_a_caller_that_says_nothing_is_cut_after_five_seconds_and_nothing_is_exempt_for_it(
    mesh: Mesh, cgroup: Path, path: str
) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(caller(cgroup, path, b"", 0)) for _ in range(4)]
        for each in crowd:
            assert each.stdout and each.stdout.readline() == "connected\n"
        assert cgroup.stat().st_ino not in exempted(mesh)
        assert bystander(mesh) < 3
        for each in crowd:
            assert each.stdout and each.stdout.readline() == "cut 0\n"


def test_a_process_outside_the_nodes_cgroup_is_turned_away(mesh: Mesh, path: str) -> None:
    before = metric(mesh, "weft_handover_strangers_total")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as agent:
        agent.settimeout(10)
        agent.connect(path)
        with contextlib.suppress(BrokenPipeError):
            agent.send(HELLO)
        with contextlib.suppress(ConnectionResetError):
            assert agent.recv(2000) == b""
    until("it is counted", lambda: metric(mesh, "weft_handover_strangers_total") > before)


def test_only_root_can_connect(mesh: Mesh, path: str) -> None:
    # The folder lets nobody else through either: a copy of the socket's name would not help.
    link = f"/proc/{mesh.process(f'{NODE}-node')}/root{path}"
    attempt = "import socket, sys\nsocket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(sys.argv[1])"
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", attempt]
    for each in (path, link):
        done = subprocess.run([*command, each], capture_output=True, text=True, timeout=10, check=False)
        assert "PermissionError" in done.stderr
    assert oct(Path(path).stat().st_mode & 0o777) == "0o600"
