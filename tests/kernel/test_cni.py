"""Pods that start through the node's CNI chain: held until they are captured, with the plugin that is shipped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import threading
from collections.abc import Iterator

import pytest

from agent import kube
from agent.errors import NotFoundError
from agent.wire import OUTBOUND_PORT
from tests.support.node_world import NodeWorld, PodWorld, Process, eventually, node_world
from tests.support.runtime import BRIDGE, PLUGIN, Runtime, finished, previous

ANSWERED = 9999  # the stand-in proxy answers itself there
NETWORK = json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE]})
FIRST_WORDS = """
import json, socket
s = socket.create_connection(("10.77.0.50", 9999), 5)
print(json.dumps(json.loads(s.makefile().readline())["port"]))
"""


@pytest.fixture
def world() -> Iterator[NodeWorld]:
    """A node of the test's own, without an agent."""
    with node_world() as world:
        yield world


@pytest.fixture(scope="module")
def shared() -> Iterator[Runtime]:
    """Of a node whose agent and proxy run, and whose network is in place."""
    with node_world() as world:
        runtime = Runtime(world)
        runtime.write("10-pods.conflist", NETWORK)
        world.start_agent(**runtime.settings)
        world.start_proxy()
        eventually(lambda: len(runtime.chain()) == 2)
        yield runtime


@pytest.fixture
def runtime(shared: Runtime) -> Iterator[Runtime]:
    """That node, and its pods gone at the end."""
    world = shared.world
    before = len(world.pods)
    yield shared
    for pod in world.pods[before:]:
        with contextlib.suppress(NotFoundError):
            world.delete(pod)
    eventually(lambda: world.entries() == 0)


def a_starting_pod(runtime: Runtime, mode: str | None = "ambient") -> PodWorld:
    pod = runtime.world.add_sandbox()
    runtime.create(pod, mode)
    return pod


def agent_of(world: NodeWorld) -> Process:
    return next(process for process in reversed(world.processes) if "agent.node.main" in process.popen.args)  # type: ignore[operator]


def addresses(world: NodeWorld) -> list[list[str]]:
    return [row["addresses"] for row in json.loads(world.fetch("15014/debug/pods"))]


def is_captured(world: NodeWorld, pod: PodWorld) -> bool:
    rows = json.loads(world.fetch("15014/debug/pods"))
    return any(row["uid"] == pod.uid and row["state"] == "enrolled" for row in rows)


def test_the_first_connection_of_a_pod_goes_through_the_proxy(runtime: Runtime) -> None:
    for _ in range(5):
        pod = a_starting_pod(runtime)
        out, _ = runtime.start(pod, "-c", FIRST_WORDS).popen.communicate(timeout=20)
        assert json.loads(out) == OUTBOUND_PORT
        assert is_captured(runtime.world, pod)


def test_the_result_of_the_plugins_before_is_passed_on_unchanged(runtime: Runtime) -> None:
    pod = a_starting_pod(runtime)
    assert json.dumps(runtime.call("ADD", pod).answer) == json.dumps(previous(pod))
    assert runtime.call("CHECK", pod).exit_status == 0
    assert runtime.call("DEL", pod).exit_status == 0


def test_a_pod_stays_captured_when_kubelet_tells_of_its_addresses(runtime: Runtime) -> None:
    world = runtime.world
    pod = a_starting_pod(runtime)
    runtime.start(pod, "-c", "import time; time.sleep(600)")
    # In the other order, as some runtimes do.
    status = {"phase": "Running", "podIPs": [{"ip": address} for address in reversed(pod.addresses)]}
    asyncio.run(world.state.patch(kube.POD, "shop", pod.name, {"status": status}))
    eventually(lambda: [*reversed(pod.addresses)] in addresses(world))
    eventually(lambda: is_captured(world, pod))
    assert pod.answer_from("10.77.0.50", ANSWERED)["answer"]["port"] == OUTBOUND_PORT


def test_a_pod_whose_sandbox_is_made_anew_is_captured_in_the_new_one(runtime: Runtime) -> None:
    world = runtime.world
    first, second = world.add_sandbox(), world.add_sandbox()
    runtime.create(first)
    assert runtime.call("ADD", first).exit_status == 0
    status = {"podIPs": [{"ip": address} for address in first.addresses]}
    asyncio.run(world.state.patch(kube.POD, "shop", first.name, {"status": status}))
    again = PodWorld(world, first.uid, first.name, second.netns, second.addresses)
    out, _ = runtime.start(again, "-c", FIRST_WORDS).popen.communicate(timeout=20)
    assert json.loads(out) == OUTBOUND_PORT
    assert world.entries() == 1


def test_pods_outside_the_mesh_start_at_once(runtime: Runtime) -> None:
    plain = a_starting_pod(runtime, mode=None)
    assert runtime.call("ADD", plain).exit_status == 0


def test_without_the_agent_pods_wait_but_for_exempt_ones_and_start_once_it_is_back(runtime: Runtime) -> None:
    world = runtime.world
    pod = a_starting_pod(runtime)
    agent_of(world).end(signal.SIGTERM)
    assert [plugin["type"] for plugin in runtime.chain()] == ["bridge", "weft-cni"], "its end opened a gap"
    refused = runtime.call("ADD", pod)
    assert (refused.exit_status, refused.answer["code"]) == (1, 11)
    assert "no node agent listens there" in refused.answer["msg"]
    assert refused.seconds < 5
    for namespace in ("istio-system", "kube-system"):
        assert runtime.call("ADD", pod, namespace).exit_status == 0
    assert runtime.call("DEL", pod).exit_status == 0
    world.start_agent(**runtime.settings)
    eventually(lambda: world.metric("ztunnel_connected") == 1)
    out, _ = runtime.start(pod, "-c", FIRST_WORDS).popen.communicate(timeout=20)
    assert json.loads(out) == OUTBOUND_PORT


def test_an_agent_that_is_stuck_keeps_a_pod_from_starting_only_so_long(runtime: Runtime) -> None:
    pod = a_starting_pod(runtime)
    agent = agent_of(runtime.world).popen
    agent.send_signal(signal.SIGSTOP)
    try:
        refused = runtime.call("ADD", pod, waitSeconds=1)
    finally:
        agent.send_signal(signal.SIGCONT)
    assert refused.answer["code"] == 11
    assert refused.seconds < 10


def test_without_a_proxy_a_pod_waits_and_is_told_why(world: NodeWorld) -> None:
    runtime = Runtime(world)
    runtime.write("10-pods.conflist", NETWORK)
    world.start_agent(**runtime.settings)
    eventually(lambda: len(runtime.chain()) == 2)
    pod = a_starting_pod(runtime)
    refused = runtime.call("ADD", pod, waitSeconds=1)
    assert refused.answer["code"] == 11
    assert "no node proxy is connected" in refused.answer["msg"]
    waiting = runtime.begin("ADD", pod)
    world.start_proxy()
    assert finished(waiting).exit_status == 0


def test_a_namespace_that_is_not_the_pods_own_is_refused(runtime: Runtime) -> None:
    first, second = a_starting_pod(runtime), a_starting_pod(runtime)
    elsewhere = PodWorld(runtime.world, first.uid, first.name, second.netns, first.addresses)
    refused = runtime.call("ADD", elsewhere)
    assert refused.answer["code"] == 100
    assert f"not {first.addresses[0]}" in refused.answer["msg"]
    host = PodWorld(runtime.world, first.uid, first.name, runtime.world.host, first.addresses)
    assert "node's network namespace" in runtime.call("ADD", host).answer["msg"]
    assert runtime.world.entries() == 0
    assert runtime.call("ADD", first).exit_status == 0
    assert (
        runtime.call(
            "ADD", PodWorld(runtime.world, second.uid, second.name, first.netns, first.addresses), waitSeconds=1
        ).answer["code"]
        == 11
    )


def test_a_pod_that_nobody_knows_waits_and_its_end_is_no_failure(runtime: Runtime) -> None:
    pod = runtime.world.add_sandbox()
    refused = runtime.call("ADD", pod, waitSeconds=1)
    assert refused.answer["code"] == 11
    assert f"does not know pod shop/{pod.name}" in refused.answer["msg"]
    assert runtime.call("DEL", pod).exit_status == 0


def test_fifty_pods_that_start_at_once_are_all_captured_soon(runtime: Runtime) -> None:
    pods = [a_starting_pod(runtime) for _ in range(50)]
    calls = [runtime.begin("ADD", pod) for pod in pods]
    done = [finished(call) for call in calls]
    assert {each.exit_status for each in done} == {0}
    assert runtime.world.entries() == 50
    seconds = sorted(each.seconds for each in done)
    print(f"50 ADDs at once: median {statistics.median(seconds):.3f} s, last {seconds[-1]:.3f} s")
    assert seconds[-1] < 10


def test_garbage_on_the_socket_harms_nobody(runtime: Runtime) -> None:
    cut = 'weft_cni_requests_total{outcome="cut"}'
    before = runtime.world.metric(cut)
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(100)]
    try:
        for number, caller in enumerate(silent):
            caller.connect(os.fspath(runtime.socket))
            if number % 2:
                caller.send(os.urandom(3000))
        pod = a_starting_pod(runtime)
        assert runtime.call("ADD", pod).exit_status == 0
        eventually(lambda: runtime.world.metric(cut) == before + 100)
    finally:
        for caller in silent:
            caller.close()


def test_a_network_that_is_installed_later_or_anew_is_chained(runtime: Runtime) -> None:
    world = runtime.world
    runtime.write("05-other.conf", json.dumps({"cniVersion": "0.4.0", "name": "other", **BRIDGE}))
    eventually(lambda: not (runtime.configurations / "05-other.conf").exists())
    assert [plugin["type"] for plugin in runtime.chain()] == ["bridge", "weft-cni"]
    runtime.write("05-other.conflist", NETWORK)
    eventually(lambda: len(runtime.chain()) == 2)
    (runtime.configurations / "05-other.conflist").unlink()
    (runtime.programs / "weft-cni").unlink()
    eventually(lambda: (runtime.programs / "weft-cni").exists())
    assert world.metric("weft_cni_chained") == 1


def test_a_broken_configuration_is_left_alone_and_reported(runtime: Runtime) -> None:
    world = runtime.world
    runtime.write("01-broken.conflist", '{"cniVersion": "1.0.0", "plugins": [')
    eventually(lambda: world.metric("weft_cni_problems") == 1)
    assert (runtime.configurations / "01-broken.conflist").read_text() == '{"cniVersion": "1.0.0", "plugins": ['
    report = json.loads(world.fetch("15014/debug/cni"))
    assert report["file"] == "10-pods.conflist"
    assert "01-broken.conflist: not JSON" in report["problems"]["01-broken.conflist"]
    (runtime.configurations / "01-broken.conflist").unlink()
    eventually(lambda: world.metric("weft_cni_problems") == 0)


def test_a_configuration_that_is_rewritten_all_the_time_is_never_half_there(runtime: Runtime) -> None:
    stop = threading.Event()
    path = runtime.configurations / "10-pods.conflist"

    def rewrite() -> None:
        while not stop.wait(0.005):
            runtime.write("10-pods.conflist", NETWORK)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(2000):
            assert json.loads(path.read_text())["plugins"][0] == BRIDGE
    finally:
        stop.set()
        writer.join()
    eventually(lambda: len(runtime.chain()) == 2)


def test_uninstalling_leaves_the_networks_own_configuration(world: NodeWorld) -> None:
    runtime = Runtime(world)
    single = json.dumps({"cniVersion": "0.4.0", "name": "other", **BRIDGE})
    runtime.write("05-other.conf", single)
    runtime.write("10-pods.conflist", NETWORK)
    agent = world.start_agent(**runtime.settings)
    eventually(lambda: not (runtime.configurations / "05-other.conf").exists())
    agent.end()
    world.remove_agent(**runtime.settings)
    assert {path.name: path.read_text() for path in runtime.configurations.iterdir()} == {
        "05-other.conf": single,
        "10-pods.conflist": NETWORK,
    }
    assert list(runtime.programs.iterdir()) == []


def test_the_plugin_is_static() -> None:
    assert b"/ld-linux" not in PLUGIN.read_bytes()[:4096]
