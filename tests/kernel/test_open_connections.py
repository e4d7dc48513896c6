"""The gauge of open connections against their list, whatever ends them; and what bounds all that is counted."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.lab.session import until
from agent.wire import HBONE_PORT, INBOUND_PORT
from tests.support.hbone import Tunnel
from tests.support.served import ADDRESS, PORT, UID, Served, a_workload, served

MOST_LABEL_SETS = 10_000
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


def gauge(pod: Served) -> int:
    return sum(row[-1] for row in pod.engine.metrics())


def listed(pod: Served) -> int:
    return len(json.loads(pod.engine.connections()))


def is_open(pod: Served, count: int) -> None:
    """So many are listed, soon; and then the gauge says the same."""
    until(f"{count} are listed", lambda: listed(pod) == count)
    assert gauge(pod) == count


def end_well(pod: Served, tunnel: Tunnel, stream: int, app: socket.socket) -> None:
    app.shutdown(socket.SHUT_WR)
    tunnel.exchange(stream, b"")


def reset_the_app(pod: Served, tunnel: Tunnel, stream: int, app: socket.socket) -> None:
    app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    app.close()


def close_the_tunnel(pod: Served, tunnel: Tunnel, stream: int, app: socket.socket) -> None:
    tunnel.__exit__(None, None, None)


def cut_by_policy(pod: Served, tunnel: Tunnel, stream: int, app: socket.socket) -> None:
    pod.deny("front")


def remove_the_pod(pod: Served, tunnel: Tunnel, stream: int, app: socket.socket) -> None:
    pod.engine.remove_pod(UID, 0)


def close_the_engine(pod: Served, tunnel: Tunnel, stream: int, app: socket.socket) -> None:
    pod.engine.drain(0)
    pod.engine.close()


ENDS = [end_well, reset_the_app, close_the_tunnel, cut_by_policy, remove_the_pod, close_the_engine]


@pytest.mark.parametrize("ended", ENDS)
def test_a_connection_leaves_gauge_and_list_however_it_ends(
    pod: Served, ended: Callable[[Served, Tunnel, int, socket.socket], None]
) -> None:
    tunnel, stream, app = pod.stream("front")
    with tunnel, app:
        is_open(pod, 1)
        ended(pod, tunnel, stream, app)
        is_open(pod, 0)
        assert sum(row[1] for row in pod.engine.metrics()) == sum(row[2] for row in pod.engine.metrics()) == 1


def test_a_connection_that_is_never_set_up_is_not_left_open(pod: Served) -> None:
    pod.knock(INBOUND_PORT, [ADDRESS] * 20)
    with pod.connected(HBONE_PORT) as silent:
        until("the tunnel's socket is counted", lambda: dict(pod.engine.sockets_open())["destination"] == 1)
        assert gauge(pod) == 0, "nobody knows yet where it goes"
        silent.sendall(b"no TLS")
    tunnel, _, app = pod.stream("front")
    app.close()
    with tunnel:
        assert tunnel.connect(f"{ADDRESS}:9")[1] == 503
    is_open(pod, 0)
    until("no socket is left", lambda: dict(pod.engine.sockets_open()) == {"source": 0, "destination": 0})


def test_gauge_and_list_agree_while_clients_churn(pod: Served) -> None:
    """Between two equal lists, read before and after the gauge, nothing has changed in number."""
    stop, rounds = threading.Event(), 60
    agreed = 0

    def churn() -> None:
        for _ in range(rounds):
            tunnel, stream, app = pod.stream("front")
            with tunnel, app:
                end_well(pod, tunnel, stream, app)
        stop.set()

    with contextlib.closing(pod.connected(PORT)), pod.app.accept()[0]:
        held = [pod.stream("back") for _ in range(5)]
        client = threading.Thread(target=churn)
        client.start()
        while not stop.is_set():
            before, now, after = listed(pod), gauge(pod), listed(pod)
            assert 5 <= now <= 7
            if before == after:
                agreed += now == before
        client.join()
        assert agreed
        is_open(pod, 5)
        for tunnel, _, app in held:
            tunnel.__exit__(None, None, None)
            app.close()
    is_open(pod, 0)


def rows(pod: Served) -> dict[str, int]:
    """Connections opened by source workload."""
    found: dict[str, int] = {}
    for labels, opened, *_ in pod.engine.metrics():
        found[labels["source_workload"]] = found.get(labels["source_workload"], 0) + opened
    return found


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def test_ten_thousand_short_lived_peers_do_not_grow_the_rows_without_bound(pod: Served) -> None:
    pod.engine.set_access_log_level("off")
    first = int(ip_address("10.99.1.0"))

    def come_and_go(batch: int) -> None:
        peers = [(f"job-{batch}-{n}", str(ip_address(first + n))) for n in range(2500)]
        workloads = [a_workload(name, address) for name, address in peers]
        pod.know(workloads)
        pod.knock(INBOUND_PORT, [address for _, address in peers])
        until("all have ended", lambda: gauge(pod) == 0)
        pod.know([], [each.uid for each in workloads])

    for batch in range(4):
        come_and_go(batch)
    assert len(pod.engine.metrics()) > MOST_LABEL_SETS
    after_ten_thousand = resident_mib()
    assert pod.engine.metrics_overflown() > 0
    for batch in range(4, 8):
        come_and_go(batch)
    assert len(pod.engine.metrics()) <= MOST_LABEL_SETS + 4
    opened = rows(pod)
    assert sum(opened.values()) == 20_000, "none is lost"
    assert opened["overflow"] > 10_000
    assert resident_mib() - after_ten_thousand < 30


def test_a_json_line_says_who_what_how_much_and_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, access_log="json") as pod:
        tunnel, stream, app = pod.stream("front")
        with tunnel, app:
            app.sendall(b"twelve bytes")
            app.shutdown(socket.SHUT_WR)
            assert tunnel.exchange(stream, b"five!") == b"twelve bytes"
            assert app.recv(100) == b"five!"
            is_open(pod, 0)
        pod.knock(INBOUND_PORT, [ADDRESS])
        is_open(pod, 0)
    well, refused = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    source, shown = well.pop("src.addr"), well.pop("duration")
    assert (source.rpartition(":")[0], well.pop("time")[-1], shown[-2:]) == (ADDRESS, "Z", "ms")
    assert well == {
        "level": "info",
        "scope": "access",
        "message": "connection complete",
        "src.identity": "spiffe://cluster.local/ns/shop/sa/front",
        "dst.addr": f"{ADDRESS}:{HBONE_PORT}",
        "dst.hbone_addr": f"{ADDRESS}:{PORT}",
        "dst.workload": "web",
        "dst.namespace": "shop",
        "dst.identity": "spiffe://cluster.local/ns/shop/sa/web",
        "dst.cluster": "Kubernetes",
        "direction": "inbound",
        "bytes_sent": 12,
        "bytes_recv": 5,
    }
    assert (refused["level"], refused["error"]) == ("error", f"port {INBOUND_PORT} is not a port of the app")


@contextlib.contextmanager
def nobody_reads_standard_output() -> Iterator[int]:
    """Standard output is a pipe that fills up; yields the end that could be read."""
    reader, writer = os.pipe()
    kept = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        yield reader
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(reader)


def test_a_standard_output_that_nobody_reads_holds_no_connection_up(tmp_path: Path) -> None:
    with nobody_reads_standard_output(), served(tmp_path) as pod:
        pod.knock(INBOUND_PORT, [ADDRESS] * 6000)
        until("lines are dropped", pod.engine.access_log_dropped)
        tunnel, stream, app = pod.stream("front")
        with tunnel, app:
            end_well(pod, tunnel, stream, app)
        pod.engine.set_access_log_level("off")
        dropped = pod.engine.access_log_dropped()
        pod.knock(INBOUND_PORT, [ADDRESS] * 100)
        assert pod.engine.access_log_dropped() == dropped
        pod.engine.close()
