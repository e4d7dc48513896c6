"""A node that loses its power while pods of the mesh run on it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator

import pytest

from agent.node import cgroups
from agent.wire import OUTBOUND_PORT
from tests.support.node_world import PodWorld, eventually, node_world, run
from tests.support.runtime import BRIDGE, Runtime, finished

ANSWERED = 9999  # the stand-in proxy answers itself there
CHAIN = ["bridge", "weft-cni"]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """Of a node whose agent and proxy run."""
    with node_world() as world:
        runtime = Runtime(world)
        runtime.write("10-pods.conflist", json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE]}))
        world.start_agent(**runtime.settings)
        world.start_proxy()
        eventually(lambda: len(runtime.chain()) == len(CHAIN))
        yield runtime


def a_running_pod(runtime: Runtime) -> PodWorld:
    pod = runtime.world.add_sandbox()
    runtime.create(pod)
    runtime.start(pod, "-c", "import time; time.sleep(600)")
    return pod


def cut_power(runtime: Runtime) -> None:
    """Nothing runs any more, and all that is in memory is gone; what is on the disk stays: objects, chain, plugin."""
    world = runtime.world
    for process in world.processes:
        with contextlib.suppress(ProcessLookupError):
            process.end(signal.SIGKILL)
    for pod in world.pods:
        eventually(lambda pod=pod: not cgroups.processes_of(pod.uid, world.cgroup))
        run("ip", "netns", "delete", pod.netns)
        (world.cgroup / "kubepods" / f"pod{pod.uid}").rmdir()
    for folder in (world.pins, runtime.socket.parent):
        shutil.rmtree(folder)
    world.socket.unlink()


def test_pods_of_a_node_that_reboots_wait_and_are_captured_in_their_new_sandboxes(runtime: Runtime) -> None:
    world = runtime.world
    before = [a_running_pod(runtime) for _ in range(3)]
    cut_power(runtime)
    assert [plugin["type"] for plugin in runtime.chain()] == CHAIN
    after = []
    for old in before:
        new = world.add_sandbox(old.uid)  # with other addresses, while its object still tells of the ones before
        after.append(PodWorld(world, old.uid, old.name, new.netns, new.addresses))
    for pod in after:
        refused = runtime.call("ADD", pod)
        assert (refused.exit_status, refused.answer["code"]) == (1, 11)
    # What the node needs to come up does not wait for the mesh.
    assert runtime.call("ADD", after[0], "kube-system").exit_status == 0
    assert runtime.call("ADD", after[0], "istio-system").exit_status == 0
    world.start_agent(**runtime.settings)
    waiting = [runtime.begin("ADD", pod) for pod in after]
    world.start_proxy()
    assert [finished(call).exit_status for call in waiting] == [0] * len(after)
    assert world.entries() == len(after)
    for pod in after:
        assert pod.answer_from("10.77.0.50", ANSWERED)["answer"]["port"] == OUTBOUND_PORT
