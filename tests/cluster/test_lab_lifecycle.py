"""A lab that is the nodes of a cluster: what it refuses, and that nothing is left when its supervisor was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.lab.layout import RUN
from agent.lab.record import read
from agent.lab.session import leftovers
from tests.support.cluster import ControlPlane, write_kubeconfig
from tests.support.command import weft
from tests.support.lab_pods import READY, corner, pod, shell
from tests.support.lab_world import LabWorld, lab_world, namespace


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """A network namespace."""
    with namespace() as found:
        yield found


def refusal(*options: str) -> str:
    done = weft("lab", "up", "--name", "test-refused", *options)
    assert done.returncode != 0
    assert leftovers("test-refused") == []
    return done.stderr


def test_nothing_is_left_of_a_lab_whose_supervisor_was_killed(tmp_path: Path) -> None:
    with lab_world(tmp_path) as world, corner(world) as here:  # which looks at what is left
        volume, mount = {"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "memory", "mountPath": "/memory"}
        here.put(pod("running", shell("exec sleep infinity", volumeMounts=[mount]), volumes=[volume]))
        here.wait(READY, "pod/running")
        read(RUN / world.lab.name / "lab.json").supervisor.signal(signal.SIGKILL)


def test_a_cluster_s_node_is_not_taken_over(world: LabWorld, elsewhere: str) -> None:
    said = refusal("-d", "--kubeconfig", str(world.plane.kubeconfig), "--control", elsewhere)
    assert "the cluster has a node node-1 that is not lab test-refused's" in said
    assert "node-1" in world.plane.kubectl("get", "nodes")


def test_a_namespace_that_is_not_there_is_named(plane: ControlPlane) -> None:
    said = refusal("--kubeconfig", str(plane.kubeconfig), "--control", "nowhere")
    assert "--control 'nowhere': no such network namespace" in said


def test_a_namespace_that_is_on_another_network_is_not_taken(world: LabWorld) -> None:
    said = refusal("--kubeconfig", str(world.plane.kubeconfig), "--control", world.plane.namespace)
    assert "it has an eth0 already" in said


def test_a_kubeconfig_that_cannot_be_read_is_named(elsewhere: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.kubeconfig"
    assert f"kubeconfig {missing}: " in refusal("--kubeconfig", str(missing), "--control", elsewhere)


def test_an_api_server_that_does_not_answer_is_named(plane: ControlPlane, elsewhere: str, tmp_path: Path) -> None:
    dead = tmp_path / "dead.kubeconfig"
    write_kubeconfig(dead, "https://127.0.0.1:1", plane.ca, {"token": "none"})
    assert "is the API server there?" in refusal("--kubeconfig", str(dead), "--control", elsewhere)


def test_what_the_kubeconfig_s_user_may_not_do_is_named(plane: ControlPlane, elsewhere: str) -> None:
    weak = plane.kubeconfig_of("default", "default")
    said = refusal("--kubeconfig", str(weak), "--control", elsewhere)
    assert "its user may not create nodes" in said
    assert "patch pods/status" in said
