"""Enrolment over time: pods that come and go, agents and proxies that die, all under load."""

from __future__ import annotations

import errno
import json
import signal
import time
from collections.abc import Iterator

import pytest

from agent.node import layout, libbpf
from tests.support.node_world import SUPPORT, NodeWorld, Process, eventually, node_world


@pytest.fixture
def world() -> Iterator[NodeWorld]:
    """Two pods, an app on 8080 in the second; agent and proxy run, nothing is enrolled."""
    with node_world() as world:
        world.add_pod()
        server = world.add_pod()
        world.start_agent()
        assert server.start(str(SUPPORT / "app.py"), "serve", "8080").line() == "ready"
        yield world


def loads(world: NodeWorld, seconds: float) -> list[Process]:
    """New connections all the time: pod to pod, and from outside to the pod; both families."""
    client, server = world.pods
    tool = str(SUPPORT / "app.py")
    started = [
        client.start(tool, "load", server.addresses[0], "8080", str(seconds), "100"),
        client.start(tool, "load", server.addresses[1], "8080", str(seconds), "50"),
        world.start_outside(tool, "load", server.addresses[0], "8080", str(seconds), "150"),
    ]
    for process in started:
        assert process.line() == "ready"
    return started


def assert_none_failed(started: list[Process], seconds: float) -> None:
    results = [json.loads(process.line()) for process in started]
    assert [result["failures"] for result in results] == [{}, {}, {}]
    assert sum(result["done"] for result in results) == int(300 * seconds)


def test_enrolling_and_withdrawing_a_running_pod_fails_no_connection(world: NodeWorld) -> None:
    world.start_proxy()
    started = loads(world, 12)
    for _ in range(2):
        for pod in world.pods:
            pod.enrol()
        time.sleep(1)
        for pod in world.pods:
            pod.set_mode(None)
        for pod in world.pods:
            eventually(lambda pod=pod: pod.annotation() is None and world.entries() == 0)
        time.sleep(0.5)
    assert_none_failed(started, 12)
    assert world.pods[1].sysctl("net/ipv4/tcp_fwmark_accept") == "0"
    assert "0x53a" not in world.pods[1].inside("ip", "rule") + world.pods[1].inside("ip", "-6", "rule")


def test_an_agent_that_is_killed_and_comes_back_fails_no_connection(world: NodeWorld) -> None:
    world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    before = program_ids(world)
    started = loads(world, 8)
    agent = world.processes[2]
    agent.end(signal.SIGKILL)
    time.sleep(1)
    world.start_agent()
    eventually(lambda: world.metric("ztunnel_connected") == 1)
    eventually(lambda: world.metric("weft_enrolled_pods") == 2)
    assert not before & program_ids(world), "the new agent's programs are not in the links"
    assert_none_failed(started, 8)
    assert world.entries() == 2


def test_a_newer_proxy_takes_over_without_a_failed_connection(world: NodeWorld) -> None:
    old = world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    started = loads(world, 6)
    world.start_proxy()
    old.end()
    assert_none_failed(started, 6)


def test_without_a_proxy_enrolled_pods_are_refused_both_ways_and_served_again(world: NodeWorld) -> None:
    client, server = world.pods
    proxy = world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    proxy.end(signal.SIGKILL)
    for address in server.addresses:
        eventually(lambda address=address: client.answer_from(address, 8080).get("error") == errno.ECONNREFUSED)
        assert world.from_outside(address, 8080) == {"error": errno.ECONNREFUSED}
        assert server.answer_from(address, 8080)["answer"]["local"] == [address, 8080]
    assert server.answer_from("127.0.0.1", 8080)["answer"]["local"] == ["127.0.0.1", 8080]
    assert world.metric('weft_redirection_events_total{event="no_listener"}') >= 2
    world.start_proxy()
    assert client.answer_from(server.addresses[0], 8080)["answer"]["client"][0] == client.addresses[0]


def test_without_a_proxy_a_pod_stays_pending_and_another_problem_does_not_hold_up_the_rest(world: NodeWorld) -> None:
    first, second = world.pods
    first.set_mode("ambient")
    eventually(lambda: first.annotation() == "pending")
    assert world.metric('weft_pending_pods{reason="PodNotReadyError"}') == 1
    allowed = world.folder / "allowed"
    world.start_proxy(f"{first.uid}={allowed}")
    second.enrol()
    assert first.annotation() == "pending"
    allowed.touch()
    eventually(lambda: first.annotation() == "enabled")


def test_an_enrolled_pod_that_a_new_proxy_refuses_stays_closed_and_is_tried_again(world: NodeWorld) -> None:
    server = world.pods[1]
    proxy = world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    proxy.end(signal.SIGKILL)
    eventually(lambda: world.metric("ztunnel_connected") == 0)
    allowed = world.folder / "allowed"
    world.start_proxy(f"{server.uid}={allowed}")
    assert world.from_outside(server.addresses[0], 8080) == {"error": errno.ECONNREFUSED}
    allowed.touch()
    eventually(lambda: "client" in (world.from_outside(server.addresses[0], 8080) or {}))


def test_a_pod_over_its_budget_is_refused_and_nobody_else(world: NodeWorld) -> None:
    storming, other = world.pods
    proxy = world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    proxy.popen.send_signal(signal.SIGSTOP)
    # First the listener's queue of 4096 fills, then handshakes stay unfinished.
    storm = storming.start(
        "-c",
        """
import socket, sys
kept, refused = [], 0
for _ in range(6000):
    s = socket.socket(); s.setblocking(False); kept.append(s)
    try:
        s.connect(("10.77.0.50", 9999))
    except BlockingIOError:
        pass
    except PermissionError:
        refused += 1
print(refused, flush=True)
sys.stdin.read()
import time; time.sleep(30)
""",
    )
    assert int(storm.line()) > 500
    assert other.run("s = socket.socket(); s.settimeout(5); s.connect(('10.77.0.50', 9999)); result = 'connected'")
    proxy.popen.send_signal(signal.SIGCONT)
    storm.end(signal.SIGKILL)
    eventually(lambda: world.unfinished() == [0, 0])
    assert storming.answer_from("10.77.0.50", 9999)["answer"]["target"] == ["10.77.0.50", 9999]


def test_a_pod_that_is_deleted_leaves_nothing(world: NodeWorld) -> None:
    world.start_proxy()
    pod = world.pods[0]
    pod.enrol()
    world.delete(pod)
    eventually(lambda: world.entries() == 0 and not list(world.pins.rglob("steer_*")))


def test_pods_deleted_or_unlabelled_while_no_agent_runs_are_withdrawn_by_the_next(world: NodeWorld) -> None:
    first, second = world.pods
    world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    assert world.processes[2].end() == 0
    assert world.entries() == 2
    second.set_mode("none")
    world.delete(first)
    world.start_agent()
    eventually(lambda: second.annotation() is None and world.entries() == 0)
    assert not list(world.pins.rglob("steer_*"))
    assert world.from_outside(second.addresses[0], 8080)["client"][0] == "10.77.0.1"


def test_removal_returns_pods_to_plain_networking_and_leaves_nothing(world: NodeWorld) -> None:
    client, server = world.pods
    world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    assert world.processes[2].end() == 0
    world.remove_agent()
    assert list((world.folder / "bpf").rglob("node/*")) == []
    assert [pod.annotation() for pod in world.pods] == [None, None]
    assert "0x53a" not in server.inside("ip", "rule") + server.inside("ip", "-6", "rule")
    seen = client.answer_from(server.addresses[0], 8080)
    assert seen["answer"]["client"] == seen["own"]


def test_the_agent_stays_small(world: NodeWorld) -> None:
    world.start_proxy()
    for pod in world.pods:
        pod.enrol()
    assert world.resident_mebibytes(world.processes[2]) < 60


def program_ids(world: NodeWorld) -> set[int]:
    found = set()
    for path in (world.pins / layout.VERSION / "links").iterdir():
        with libbpf.pinned(path) as link:
            found.add(libbpf.linked_program(link))
    assert found
    return found
