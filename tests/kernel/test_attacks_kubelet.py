"""Who would like to be the kubelet, whose connections no policy judges, and is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.node import libbpf
from agent.node.cgroups import Mount
from agent.node.kubelet_search import Place
from agent.node.layout import VERSION
from agent.wire import DEBUG_PORT
from tests.support import kubelet
from tests.support.kubelet import call, lose, named
from tests.support.node_world import NodeWorld, PodWorld, eventually

# As NAMED, but as nobody, and as if root's: what may not be traced is root's in /proc.
OF_NOBODY = f"""
import ctypes, os
os.setuid(65534); ctypes.CDLL(None).prctl(4, 0)
{kubelet.NAMED}
""".replace('open("/proc/self/comm", "w").write(sys.argv[1])', "ctypes.CDLL(None).prctl(15, sys.argv[1].encode())")


@pytest.fixture
def world(probed_world: NodeWorld) -> NodeWorld:
    return probed_world


@pytest.fixture
def pod(world: NodeWorld) -> PodWorld:
    return world.pods[0]


def searched(world: NodeWorld) -> dict[str, Any]:
    """What the agent says after a search that began now: its kubelet is lost, and there is another."""
    lose(world, kubelet.by_word(world, "kubelet"))
    kubelet.until_known(world, 0)
    named(world, "kubelet")
    kubelet.until_known(world)
    report: dict[str, Any] = json.loads(world.fetch(f"{DEBUG_PORT}/debug/kubelet"))
    return report


def believed(world: NodeWorld) -> list[int]:
    """The cgroups that the kernel takes for a kubelet's."""
    kubelets = libbpf.Map(world.pins / VERSION / "maps" / "kubelet_cgroups")
    try:
        return [int.from_bytes(key, "little") for key in kubelets.keys()]  # noqa: SIM118
    finally:
        kubelets.close()


def refuses(world: NodeWorld, address: str, cgroup: str, netns: str, why: str, code: str = kubelet.NAMED) -> None:
    """A process named kubelet there is none for the agent, which says why, and its calls are the proxy's."""
    process = named(world, "k3s-server", cgroup, netns, code)
    try:
        report = searched(world)
        own = world.cgroup / kubelet.CGROUP
        assert report["cgroups"] == [str(own)]
        assert believed(world) == [own.stat().st_ino]
        assert any(why in reason for reason in report["refused"]), report
        assert call(world, address, cgroup=cgroup, netns=netns) == "proxy"
    finally:
        lose(world, process)


def test_a_pods_process_that_is_named_kubelet_is_none(world: NodeWorld, pod: PodWorld) -> None:
    other = world.pods[1]
    refuses(world, pod.addresses[0], f"kubepods/pod{other.uid}", other.netns, "is a pod's")


def test_a_pod_with_the_nodes_network_and_processes_that_is_named_kubelet_is_none(
    world: NodeWorld, pod: PodWorld
) -> None:
    cgroup = "kubepods/podc0ffee00-0000-4000-8000-000000000000"
    refuses(world, pod.addresses[0], f"{cgroup}/container", world.outside, "is a pod's")


def test_a_pod_is_known_by_its_uid_wherever_the_runtime_puts_it(world: NodeWorld, pod: PodWorld) -> None:
    cgroup = "machine.slice/podc0ffee00_0000_4000_8000_000000000000.slice"
    refuses(world, pod.addresses[0], cgroup, world.outside, "is a pod's")


def test_a_user_of_the_node_who_names_a_process_kubelet_is_none(world: NodeWorld, pod: PodWorld) -> None:
    refuses(world, pod.addresses[0], "user.slice/session", world.outside, "runs as user 65534", OF_NOBODY)


@pytest.mark.parametrize("has_own_network", [True, False])
def test_a_container_that_is_no_pod_and_has_a_network_of_its_own_is_none(tmp_path: Path, has_own_network: bool) -> None:
    """As the agent of a whole node sees it: its first process, here this one, is below the root too."""
    command = [sys.executable, "-c", kubelet.NAMED, "kubelet"]
    unshare = ["unshare", "--net"] if has_own_network else []
    with subprocess.Popen([*unshare, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for folder, pid in ((tmp_path, os.getpid()), (tmp_path / "docker", process.pid)):
                folder.mkdir(exist_ok=True)
                (folder / "cgroup.procs").write_text(f"{pid}\n")
            found, refused = Place(Mount(tmp_path, "/../.."), tmp_path, init=os.getpid()).search()
            for each in found:
                os.close(each.process)
            if has_own_network:
                assert (found, refused) == ([], [f"process {process.pid} is not in the node's network namespace"])
            else:
                assert ([each.pid for each in found], refused) == ([process.pid], [])
        finally:
            process.kill()


def test_a_process_in_the_nodes_own_cgroup_is_none(world: NodeWorld, pod: PodWorld) -> None:
    refuses(world, pod.addresses[0], ".", world.outside, "is no cgroup of its own")


def test_a_pods_network_is_the_pods_even_from_the_kubelets_cgroup(world: NodeWorld, pod: PodWorld) -> None:
    before = kubelet.event(world, "redirected")
    assert call(world, "10.77.0.50", netns=pod.netns) == "proxy"
    assert kubelet.event(world, "redirected") == before + 1
    # To itself, by the address that the kubelet would call: its own business, as without a mesh.
    assert call(world, pod.addresses[0], netns=pod.netns) == "app"
    eventually(lambda: kubelet.open_probes(world) == 0)


def test_whoever_sends_the_kubelet_to_another_pods_ports_meets_its_policies(world: NodeWorld, pod: PodWorld) -> None:
    """As a probe with a `host` does: only what the called pod itself wants probed is open to the kubelet."""
    probed, steered = kubelet.event(world, "probed"), kubelet.event(world, "steered")
    for address in pod.addresses:
        # The proxy goes on to the app there, if policy lets it.
        assert call(world, address, kubelet.UNPROBED_PORT) == "app"
    assert (kubelet.event(world, "probed"), kubelet.event(world, "steered")) == (probed, steered + 2)


def test_nobody_takes_over_the_kubelets_port_while_it_is_open(world: NodeWorld, pod: PodWorld) -> None:
    kept = kubelet.calling(world, pod.addresses[0], own=45679, is_kept=True)
    assert kubelet.answer(kept) == "app"
    assert isinstance(call(world, pod.addresses[0], own=45679, cgroup="system/other"), int)
    lose(world, kept)
    eventually(lambda: kubelet.open_probes(world) == 0)
    assert call(world, pod.addresses[0], own=45679, cgroup="system/other") in ("proxy", 99)
