"""What one pod may hold of what all pods of a node share."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent._engine import Engine
from agent.lab.session import until
from agent.model import Identity
from agent.wire import HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT
from tests.support.engine_world import ServedPod, served
from tests.support.hbone import Tunnel
from tests.support.mesh import credentials

MOST = 40
CROWDED = "too many connections: this pod has"


@pytest.fixture
def engine() -> Engine:
    return Engine(2, access_log="plain", most_connections=MOST)


@pytest.fixture
def pods(engine: Engine, tmp_path: Path) -> Iterator[list[ServedPod]]:
    with served(engine, tmp_path, "flooded", "other") as made:
        yield made


def is_refused(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:  # reset, perhaps before it was open
        return True


def failures(engine: Engine) -> int:
    return sum(row[3] for row in engine.metrics() if row[0]["response_flags"] == "DENY")


def test_a_flood_into_one_pod_is_refused_before_the_others_have_nothing_left(
    engine: Engine, pods: list[ServedPod], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flooded, other = pods
    crowd = flooded.connect(HBONE_PORT, MOST)
    until("the rest is refused", lambda: failures(engine) == MOST // 4)
    for sock in crowd:
        sock.settimeout(0.1)
    assert sum(is_refused(sock) for sock in crowd) == MOST // 4
    with Tunnel(other.connect(HBONE_PORT)[0], credentials(tmp_path, Identity("shop", "other"))) as tunnel:
        assert tunnel.connect(f"{other.address}:9")[1] == 503  # nobody listens there: it was dialled
    for sock in crowd:
        sock.close()
    until("there is room again", lambda: not is_refused(patient(flooded.connect(HBONE_PORT)[0])))
    engine.close()
    assert f"{CROWDED} 30 of the node's {MOST}" in capfd.readouterr().out


def patient(sock: socket.socket) -> socket.socket:
    sock.settimeout(0.1)
    return sock


def test_streams_of_a_tunnel_count_as_connections_do(engine: Engine, pods: list[ServedPod], tmp_path: Path) -> None:
    flooded, _ = pods
    flooded.listen(8080)
    with Tunnel(flooded.connect(HBONE_PORT)[0], credentials(tmp_path, Identity("shop", "other"))) as tunnel:
        statuses = [tunnel.connect(f"{flooded.address}:8080")[1] for _ in range(MOST)]
    assert statuses == [200] * 29 + [503] * 11


@pytest.mark.parametrize("port", [OUTBOUND_PORT, INBOUND_PORT])
def test_whoever_calls_the_proxys_own_ports_is_refused_and_counted(
    engine: Engine, pods: list[ServedPod], port: int
) -> None:
    assert all(pods[0].refuses(port) for _ in range(200))
    until("all are counted", lambda: sum(row[3] for row in engine.metrics()) == 200)
