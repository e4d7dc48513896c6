"""Open connections into a pod follow its policies: the engine, a raw HBONE client, an app."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import EngineError
from agent.model import Identity
from agent.wire import HBONE_PORT
from tests.support.hbone import Tunnel
from tests.support.mesh import credentials
from tests.support.served import ADDRESS, PORT, Served, served


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as pod:
        yield pod


def test_a_policy_cuts_the_open_stream_that_it_denies_within_a_second_and_no_other(
    world: Served, capfd: pytest.CaptureFixture[str]
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


def test_the_engine_explains_what_it_would_decide(world: Served) -> None:
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


def test_a_stream_that_a_policy_denies_is_refused_from_then_on(world: Served) -> None:
    world.deny("front")
    with Tunnel(world.connected(HBONE_PORT), credentials(world.authority, Identity("shop", "front"))) as tunnel:
        assert tunnel.connect(f"{ADDRESS}:{PORT}")[1] == 401
    assert world.engine.policy_counts() == [("shop/no", "refused", 1)]


def test_a_dry_run_lets_the_stream_in_and_says_that_it_would_not(
    world: Served, capfd: pytest.CaptureFixture[str]
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
