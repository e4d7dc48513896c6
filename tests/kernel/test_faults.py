"""What fails, and which way: processes killed under traffic, foreign certificates, lies in the state."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.kube import POD, StateDirectory
from agent.lab import namespaces
from agent.lab.capture import recorded
from agent.lab.session import until
from agent.model import Identity
from agent.wire import HBONE_PORT
from tests.support.claims import claims_to_be_enrolled
from tests.support.hbone import Credentials
from tests.support.mesh import HOUR, Mesh, credentials, load, opened


def test_pods_join_and_leave_under_load_without_a_failed_connection(mesh: Mesh) -> None:
    with load(mesh) as seen, load(mesh, client="outside/client", rate=50) as outside:
        for _ in range(3):
            mesh.withdraw()
            mesh.enrol()
            before = opened(mesh)
            until("the mesh carries the load", lambda before=before: opened(mesh) > before + 100)
    assert seen.failures == ()
    assert outside.failures == ()
    assert seen.made > 300


@pytest.mark.parametrize("process", ["node-1-node", "node-2-node", "controller"])
def test_the_death_of_what_carries_no_bytes_is_not_noticed(mesh: Mesh, process: str) -> None:
    with load(mesh) as seen:
        before = mesh.process(process)
        os.kill(before, signal.SIGKILL)
        until(f"{process} is back", lambda: mesh.running(process) not in (None, before))
        carried = opened(mesh)
        until("the mesh carries the load", lambda: opened(mesh) > carried + 100)
    assert seen.failures == ()


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_the_death_of_a_proxy_refuses_and_heals_and_nothing_goes_in_the_clear(mesh: Mesh, node: str) -> None:
    with recorded(mesh.lab.netns("node-1")) as wire:
        before = mesh.process(f"{node}-proxy")
        os.kill(before, signal.SIGKILL)
        assert mesh.curl("http://web.shop/").returncode != 0
        until("the shop answers again", lambda: mesh.curl("http://web.shop/").returncode == 0)
    assert wire.ports() <= {HBONE_PORT, 15012}
    assert not wire.carries("catalogue")
    assert mesh.process(f"{node}-proxy") != before


def test_traffic_goes_on_for_a_proxy_that_returns_while_the_controller_is_away(mesh: Mesh) -> None:
    controller = mesh.process("controller")
    os.kill(controller, signal.SIGSTOP)
    try:
        assert mesh.curl("http://web.shop/").returncode == 0
    finally:
        os.kill(controller, signal.SIGCONT)


@contextlib.contextmanager
def impostor(mesh: Mesh, pod: str, shown: Credentials) -> Iterator[list[bytes]]:
    """A TLS server on a pod's port 15008; what it could read after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(shown.chain + shown.key)
        context.load_cert_chain(file.name)
    netns = f"weft-{mesh.lab.name}-pod-{mesh.pod(pod)['uid'][:8]}"
    listener = namespaces.inside(
        netns, lambda: socket.create_server(("::", HBONE_PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    )
    read: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            raw.settimeout(5)
            # A client that turns away mid-handshake is what the test is for.
            with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as sock:
                while data := sock.recv(65536):
                    read.append(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield read
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


FOREIGN = {
    "of another pod's identity": (Identity("shop", "frontend"), HOUR, timedelta(), False),
    "of a foreign trust domain": (Identity("outside", "default", "other.example"), HOUR, timedelta(), False),
    "that has expired": (Identity("outside", "default"), HOUR, 2 * HOUR, False),
    "of another authority": (Identity("outside", "default"), HOUR, timedelta(), True),
}


@pytest.mark.parametrize("which", FOREIGN)
def test_a_server_with_a_certificate_is_refused_when_it_is(mesh: Mesh, which: str, tmp_path: Path) -> None:
    identity, life, age, is_foreign = FOREIGN[which]
    directory = tmp_path if is_foreign else mesh.lab.folder / "ca"
    shown = credentials(directory, identity, life=life, age=age)
    url = f"http://{mesh.pod('outside/client')['addresses'][0]}:8099/"
    with claims_to_be_enrolled(mesh, "outside/client"), impostor(mesh, "outside/client", shown) as read:
        assert mesh.curl(url).returncode in (7, 52, 55, 56)
    assert read == []


def test_a_server_without_a_tunnel_gets_no_plain_text_instead(mesh: Mesh) -> None:
    address = mesh.pod("outside/client")["addresses"][0]
    with claims_to_be_enrolled(mesh, "outside/client"), recorded(mesh.lab.netns("node-1")) as wire:
        assert mesh.curl(f"http://{address}:8099/").returncode in (7, 52, 55, 56)
    assert not wire.carries("GET /")


def test_an_address_that_two_pods_claim_is_refused_until_one_is_gone(mesh: Mesh) -> None:
    state = StateDirectory(mesh.lab.folder / "state")
    web = asyncio.run(state.get(POD, "shop", "web"))
    liar = {key: web[key] for key in ("spec", "status")}
    liar["metadata"] = {"name": "liar", "namespace": "outside", "labels": {}}
    liar["spec"] = {**web["spec"], "serviceAccountName": "default", "nodeName": "node-9"}
    url = f"http://{mesh.pod('shop/web')['addresses'][0]}:8080/"
    asyncio.run(state.create(POD, liar))
    try:
        until("the address is refused", lambda: mesh.curl(url).returncode != 0)
        until("the reason names both", lambda: "liar" in mesh.lab.log("node-1-proxy"))
    finally:
        asyncio.run(state.delete(POD, "outside", "liar"))
    until("the address is served again", lambda: mesh.curl(url).returncode == 0)


def test_a_cut_network_heals_by_itself(mesh: Mesh) -> None:
    def port(state: str) -> None:
        """Node 1's end of the fabric that joins the nodes."""
        fabric = f"--net=/run/netns/{mesh.lab.netns('fabric')}"
        subprocess.run(["nsenter", fabric, "ip", "link", "set", "node-1", state], check=True)

    assert mesh.curl("http://web.shop/").returncode == 0
    with recorded(mesh.lab.netns("node-2")) as wire:
        port("down")
        try:
            assert mesh.curl("http://web.shop/", "--max-time", "3").returncode != 0
        finally:
            port("up")
        until("the shop answers again", lambda: mesh.curl("http://web.shop/").returncode == 0, timeout=60)
    assert not wire.carries("catalogue")
