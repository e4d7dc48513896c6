"""Open connections into a pod follow its policies: the engine, a raw HBONE client, an app."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent._engine import Engine
from agent.errors import EngineError
from agent.lab import namespaces
from agent.model import Identity
from agent.proto import authorization_pb2, workload_pb2
from agent.wire import HBONE_PORT
from tests.support.hbone import Credentials, Tunnel
from tests.support.mesh import credentials

ADDRESS = "10.99.0.1"
PORT = 8080
TYPES = {
    "address": "type.googleapis.com/istio.workload.Address",
    "policy": "type.googleapis.com/istio.security.Authorization",
}


@dataclass
class World:
    """One pod, "shop/web", whose app accepts on PORT; clients are in its own namespace."""

    netns: str
    engine: Engine
    app: socket.socket
    authority: Path

    def stream(self, account: str) -> tuple[Tunnel, int, socket.socket]:
        """A tunnel of that account with an open stream, and the app's end of it."""
        sock = namespaces.inside(self.netns, lambda: socket.create_connection((ADDRESS, HBONE_PORT), timeout=10))
        tunnel = Tunnel(sock, credentials(self.authority, Identity("shop", account)))
        stream, status = tunnel.connect(f"{ADDRESS}:{PORT}")
        assert status == 200
        accepted = self.app.accept()[0]
        accepted.settimeout(5)
        return tunnel, stream, accepted

    def deny(self, account: str, *, dry_run: bool = False) -> None:
        policy = authorization_pb2.Authorization(
            name="no",
            namespace="shop",
            scope="NAMESPACE",
            action=authorization_pb2.Action.Value("DENY"),
            dry_run=dry_run,
        )
        match = policy.rules.add().clauses.add().matches.add()
        match.principals.add().exact = f"cluster.local/ns/shop/sa/{account}"
        assert self.engine.apply(TYPES["policy"], [("shop/no", policy.SerializeToString())], []) == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    netns = f"weft-live-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", netns], check=True, timeout=10)
    engine = Engine(2, access_log="plain")
    try:
        for command in (["link", "set", "lo", "up"], ["address", "add", f"{ADDRESS}/32", "dev", "lo"]):
            subprocess.run(["ip", "-n", netns, *command], check=True, timeout=10)
        app = namespaces.inside(netns, lambda: socket.create_server((ADDRESS, PORT)))
        with app:
            app.settimeout(10)
            serve(engine, netns, tmp_path)
            yield World(netns, engine, app, tmp_path)
    finally:
        engine.close()
        subprocess.run(["ip", "netns", "delete", netns], check=True, timeout=10)


def serve(engine: Engine, netns: str, authority: Path) -> None:
    workload = workload_pb2.Workload(
        uid="Kubernetes//Pod/shop/web",
        name="web",
        namespace="shop",
        service_account="web",
        addresses=[ip_address(ADDRESS).packed],
        tunnel_protocol=workload_pb2.TunnelProtocol.Value("HBONE"),
    )
    address = workload_pb2.Address(workload=workload)
    assert engine.apply(TYPES["address"], [(workload.uid, address.SerializeToString())], []) == []
    engine.apply(TYPES["policy"], [], [])
    own: Credentials = credentials(authority, Identity("shop", "web"))
    engine.set_certificate("spiffe://cluster.local/ns/shop/sa/web", own.key, [own.chain], [own.roots])
    with open(f"/var/run/netns/{netns}", "rb") as file:
        engine.add_pod("1", "web", "shop", "web", file.fileno())


def test_a_policy_cuts_the_open_stream_that_it_denies_within_a_second_and_no_other(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    front, cut, denied_app = world.stream("front")
    back, kept, kept_app = world.stream("back")
    with front, back, denied_app, kept_app:
        began = time.monotonic()
        world.deny("front")
        with pytest.raises(ConnectionResetError):
            front.exchange(cut, b"", end=False)
        with pytest.raises(ConnectionResetError):
            denied_app.recv(1)
        assert time.monotonic() - began < 1
        kept_app.sendall(b"still here")
        kept_app.shutdown(socket.SHUT_WR)
        assert back.exchange(kept, b"and here") == b"still here"
        assert kept_app.recv(100) == b"and here"
    assert world.engine.policy_counts() == [("none", "allowed", 2), ("shop/no", "cut", 1)]
    failed = {labels["response_flags"]: row for labels, *row in world.engine.metrics() if row[2]}
    assert failed["DENY"][1:3] == [1, 1]
    world.engine.close()
    reason = "explicitly denied by: shop/no (rule 0: source.principals)"
    assert f"connection closed due to policy change: {reason}" in capfd.readouterr().out


def test_the_engine_explains_what_it_would_decide(world: World) -> None:
    world.deny("front")
    source = "spiffe://cluster.local/ns/shop/sa/front"
    arrival = json.loads(world.engine.explain_arrival(f"{ADDRESS}:{PORT}", source=source, source_ip="10.99.0.2"))
    decided = (arrival["allowed"], arrival["policy"], arrival["rule"], arrival["field"])
    assert decided == (False, "shop/no", 0, "source.principals")
    other = json.loads(world.engine.explain_arrival(f"{ADDRESS}:{PORT}", source_ip="10.99.0.2"))
    assert other["considered"][0]["lack"] == "source.principals needs an identity, and the client has none"
    departure = json.loads(world.engine.explain_departure("1", "192.0.2.1:80"))
    assert (departure["route"], departure["target"]) == ("direct", "192.0.2.1:80")
    with pytest.raises(EngineError, match="destination: "):
        world.engine.explain_arrival("nowhere", source_ip="10.99.0.2")
    with pytest.raises(EngineError, match="pod: "):
        world.engine.explain_departure("2", "192.0.2.1:80")


def test_a_stream_that_a_policy_denies_is_refused_from_then_on(world: World) -> None:
    world.deny("front")
    sock = namespaces.inside(world.netns, lambda: socket.create_connection((ADDRESS, HBONE_PORT), timeout=10))
    with Tunnel(sock, credentials(world.authority, Identity("shop", "front"))) as tunnel:
        assert tunnel.connect(f"{ADDRESS}:{PORT}")[1] == 401
    assert world.engine.policy_counts() == [("shop/no", "refused", 1)]


def test_a_dry_run_lets_the_stream_in_and_says_that_it_would_not(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.deny("front", dry_run=True)
    tunnel, stream, app = world.stream("front")
    with tunnel, app:
        app.sendall(b"hello")
        app.shutdown(socket.SHUT_WR)
        assert tunnel.exchange(stream, b"") == b"hello"
    assert world.engine.policy_counts() == [("none", "allowed", 1), ("shop/no", "would-refuse", 1)]
    source = "spiffe://cluster.local/ns/shop/sa/front"
    arrival = json.loads(world.engine.explain_arrival(f"{ADDRESS}:{PORT}", source=source, source_ip="10.99.0.2"))
    assert (arrival["allowed"], arrival["trial"]) == (True, {"allowed": False, "policy": "shop/no"})
    world.engine.close()
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "\tdry run\t" in line]
    assert line.endswith(f'dst.addr={ADDRESS}:{PORT} effect="would-refuse" policy="shop/no"')
