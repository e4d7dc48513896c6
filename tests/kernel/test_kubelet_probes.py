"""The kubelet's connections to enrolled pods: past the proxy, known by their cgroup, forgotten when they close."""

from __future__ import annotations

import contextlib
import errno
import json
import signal

import pytest

from agent.lab import namespaces
from agent.node import libbpf, netns
from agent.node.layout import MAX_PROBES, PROBE, PROBE_PROGRAM, PROBER, VERSION, pack_address
from agent.node.redirect import Redirection
from agent.wire import DEBUG_PORT, HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT
from tests.support import kubelet
from tests.support.kubelet import by_word, call, calling, event, lose, named, open_probes, probes, until_known
from tests.support.node_world import NodeWorld, PodWorld, eventually
from tests.support.stand_in_proxy import ANSWERED_PORT

OTHER = "system/other"  # the cgroup of another daemon of the node
NODE = "10.77.0.1"


@pytest.fixture
def world(probed_world: NodeWorld) -> NodeWorld:
    return probed_world


@pytest.fixture
def pod(world: NodeWorld) -> PodWorld:
    return world.pods[0]


@pytest.mark.parametrize("form", ["{0}", "{1}", "::ffff:{0}"])
def test_the_kubelet_reaches_the_app_and_nobody_else_of_the_node_does(
    world: NodeWorld, pod: PodWorld, form: str
) -> None:
    address = form.format(*pod.addresses)
    before = event(world, "probed")
    assert call(world, address) == "app"
    assert event(world, "probed") == before + 1
    assert call(world, address, cgroup=OTHER) == "proxy"
    assert call(world, address, cgroup=f"{kubelet.CGROUP}/below") == "proxy"
    assert event(world, "probed") == before + 1


def test_the_app_sees_the_nodes_own_address(world: NodeWorld, pod: PodWorld) -> None:
    said = json.loads(calling(world, pod.addresses[0]).line())
    assert (said["client"][0], said["local"]) == (NODE, [pod.addresses[0], ANSWERED_PORT])


@pytest.mark.parametrize("port", [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT])
def test_the_proxys_own_ports_are_not_the_kubelets_to_call(world: NodeWorld, pod: PodWorld, port: int) -> None:
    probed, steered = event(world, "probed"), event(world, "steered")
    call(world, pod.addresses[0], port)
    assert (event(world, "probed"), event(world, "steered")) == (probed, steered + 1)


def test_a_pod_that_is_not_enrolled_is_untouched(world: NodeWorld) -> None:
    before = event(world, "probed")
    process = calling(world, world.pods[1].addresses[0], is_kept=True)
    assert kubelet.answer(process) == "app"
    assert open_probes(world) == 0
    process.end()
    assert event(world, "probed") == before


def test_a_thousand_probes_leave_nothing_behind(world: NodeWorld, pod: PodWorld) -> None:
    before = event(world, "probed")
    assert call(world, pod.addresses[0], number=500) == "app"
    assert call(world, pod.addresses[1], number=400) == "app"
    assert call(world, pod.addresses[0], kubelet.CLOSED_PORT, number=100) == errno.ECONNREFUSED
    assert event(world, "probed") == before + 1000
    eventually(lambda: open_probes(world) == 0)


def test_a_kubelet_that_is_killed_leaves_nothing_behind(world: NodeWorld, pod: PodWorld) -> None:
    process = calling(world, pod.addresses[0], number=20, is_kept=True)
    assert kubelet.answer(process) == "app"
    # No answer ever comes from there: this one is killed in the middle of its handshake.
    pod.inside("ip", "route", "add", "blackhole", "10.77.0.1/32")
    try:
        waiting = calling(world, pod.addresses[0])
        eventually(lambda: open_probes(world) == 21)
        waiting.end(signal.SIGKILL)
        eventually(lambda: open_probes(world) == 20)
    finally:
        pod.inside("ip", "route", "del", "blackhole", "10.77.0.1/32")
    process.end(signal.SIGKILL)
    eventually(lambda: open_probes(world) == 0)


def an_entry(world: NodeWorld, pod: PodWorld, port: int) -> tuple[bytes, bytes]:
    """As if the kubelet had a connection from that port of the node."""
    cookie = namespaces.inside(world.outside, netns.cookie)
    key = PROBE.pack(pack_address(NODE), pack_address(pod.addresses[0]), port, ANSWERED_PORT)
    return key, PROBER.pack(cookie, 1)


def test_an_entry_that_was_left_behind_lets_nobody_through(world: NodeWorld, pod: PodWorld) -> None:
    key, value = an_entry(world, pod, 45678)
    with probes(world) as entries:
        entries.update(key, value)
        assert call(world, pod.addresses[0], own=45678, cgroup=OTHER) == "proxy"
        assert entries.keys() == []


def test_what_closed_unseen_is_forgotten_when_the_hooks_are_back(world: NodeWorld, pod: PodWorld) -> None:
    path = world.pins / VERSION / "links" / f"node_{PROBE_PROGRAM}"
    key, value = an_entry(world, pod, 45678)
    with contextlib.closing(Redirection(world.pins / VERSION)) as kernel, probes(world) as entries:
        with libbpf.pinned(path) as link:
            libbpf.detach_link(link)
        path.unlink()
        entries.update(key, value)
        assert call(world, pod.addresses[0]) == "proxy"
        kernel.attach(world.cgroup)
        assert entries.keys() == []
    assert call(world, pod.addresses[0]) == "app"


def test_without_room_a_probe_is_judged_as_any_connection_and_counted(world: NodeWorld, pod: PodWorld) -> None:
    before = event(world, "probes_full")
    with probes(world) as entries:
        keys = [an_entry(world, pod, 1)[0][:-8] + port.to_bytes(8, "little") for port in range(1, MAX_PROBES + 1)]
        try:
            for key in keys:
                entries.update(key, PROBER.pack(1, 1))
            assert call(world, pod.addresses[0]) == "proxy"
            assert event(world, "probes_full") == before + 1
        finally:
            for key in keys:
                entries.delete(key)
    assert call(world, pod.addresses[0]) == "app"


def test_a_kubelet_that_starts_again_in_another_cgroup_is_found(world: NodeWorld, pod: PodWorld) -> None:
    lose(world, by_word(world, "kubelet"))
    until_known(world, 0)
    report = json.loads(world.fetch(f"{DEBUG_PORT}/debug/kubelet"))
    assert (report["cgroups"], report["refused"]) == ([], [])
    assert "no process of root is named kubelet, " in report["problem"]
    assert call(world, pod.addresses[0]) == "proxy"
    new = named(world, "kubelet", "system/kubelet-anew")
    until_known(world)
    assert call(world, pod.addresses[0], cgroup="system/kubelet-anew") == "app"
    assert call(world, pod.addresses[0]) == "proxy"
    lose(world, new)
    named(world, "kubelet")
    eventually(lambda: call(world, pod.addresses[0]) == "app")


def test_the_setting_names_the_cgroup_and_probes_go_on_through_restarts(world: NodeWorld, pod: PodWorld) -> None:
    kept = calling(world, pod.addresses[0], is_kept=True)
    assert kubelet.answer(kept) == "app"
    lose(world, by_word(world, "agent.node.main"))
    assert call(world, pod.addresses[0]) == "app"  # nobody is needed for it
    world.start_agent(WEFT_KUBELET_CGROUP="system/probing,system/not-there")
    until_known(world, 0)
    assert call(world, pod.addresses[0]) == "proxy"
    (world.cgroup / "system/probing").mkdir()
    until_known(world)
    assert call(world, pod.addresses[0], cgroup="system/probing") == "app"
    report = json.loads(world.fetch(f"{DEBUG_PORT}/debug/kubelet"))
    assert report["cgroups"] == [str(world.cgroup / "system/probing")]
    assert report["refused"] == [f"{world.cgroup / 'system/not-there'} does not exist"]
    lose(world, by_word(world, "agent.node.main"))
    world.start_agent()
    eventually(lambda: call(world, pod.addresses[0]) == "app")
    assert call(world, pod.addresses[0], cgroup="system/probing") == "proxy"
    assert open_probes(world) == 1
    kept.end()
    eventually(lambda: open_probes(world) == 0)
    eventually(lambda: world.metric("ztunnel_connected") == 1)
