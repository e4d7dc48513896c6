"""Calls from a node's own processes into its pods: who answers, the app or the proxy."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

from agent import kube
from agent.node import layout, libbpf
from agent.wire import HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT
from tests.support.node_world import SUPPORT, NodeWorld, PodWorld, Process, a_pod_object, eventually, node_world
from tests.support.stand_in_proxy import ANSWERED_PORT

CGROUP = "system/kubelet"
CLOSED_PORT = 9
UNPROBED_PORT = 8080
# A process with a name: python NAMED NAME, in its cgroup and namespace.
NAMED = """
import signal, sys
open("/proc/self/comm", "w").write(sys.argv[1]); print("ready", flush=True); signal.pause()
"""
# Connections to ADDRESS PORT, NUMBER of them, from the port OWN (0: any); prints as JSON what the
# last one read, or its error. Those that are KEPT stay open until the process ends.
CALLS = """
import json, signal, socket, sys
address, port, number, own, kept = sys.argv[1], *map(int, sys.argv[2:])
said, held = None, []
for _ in range(number):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET); s.settimeout(5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if own: s.bind(("", own))
        s.connect((address, port)); said = json.loads(s.makefile().readline() or "null")
    except OSError as exc: said = exc.errno or type(exc).__name__
    if kept: held.append(s)
    else: s.close()
print(json.dumps(said), flush=True)
if kept: signal.pause()
"""


def named(world: NodeWorld, name: str, cgroup: str = CGROUP, netns: str = "", code: str = NAMED) -> Process:
    """A process of that name, by default of the node."""
    folder = world.cgroup / cgroup
    folder.mkdir(parents=True, exist_ok=True)
    process = world.start(netns or world.outside, cgroup, sys.executable, "-c", code, name)
    assert process.line() == "ready"
    return process


def by_word(world: NodeWorld, word: str) -> Process:
    """The process that runs with this word on its command line."""
    return next(process for process in world.processes if isinstance(line := process.popen.args, list) and word in line)


def lose(world: NodeWorld, process: Process, number: int = signal.SIGKILL) -> None:
    """End a process that shall not be found again."""
    process.end(number)
    assert process.popen.stdout is not None
    process.popen.stdout.close()
    world.processes.remove(process)


def calling(
    world: NodeWorld,
    address: str,
    port: int = ANSWERED_PORT,
    *,
    cgroup: str = CGROUP,
    netns: str = "",
    number: int = 1,
    own: int = 0,
    is_kept: bool = False,
) -> Process:
    """A process that calls, by default from the kubelet's cgroup."""
    (world.cgroup / cgroup).mkdir(parents=True, exist_ok=True)
    arguments = [address, *map(str, (port, number, own, int(is_kept)))]
    return world.start(netns or world.outside, cgroup, sys.executable, "-c", CALLS, *arguments)


def answer(process: Process) -> Any:
    """Who answered a call's last connection, `app` or `proxy`; else what was read, or the number of the error."""
    said = json.loads(process.line())
    if isinstance(said, dict):
        return "proxy" if "target" in said else "app"
    return said


def call(world: NodeWorld, address: str, port: int = ANSWERED_PORT, **how: Any) -> Any:
    """One call, and who answered it."""
    process = calling(world, address, port, **how)
    try:
        return answer(process)
    finally:
        process.popen.wait(10)


def event(world: NodeWorld, name: str) -> float:
    """How often the kernel programs counted it."""
    return world.metric(f'weft_redirection_events_total{{event="{name}"}}')


@contextlib.contextmanager
def probes(world: NodeWorld) -> Iterator[libbpf.Map]:
    """The kernel's entries of the kubelet's connections."""
    with contextlib.closing(libbpf.Map(world.pins / layout.VERSION / "maps" / "probes")) as found:
        yield found


def open_probes(world: NodeWorld) -> int:
    with probes(world) as found:
        return len(found.keys())


def a_probed_pod(pod: PodWorld) -> kube.Object:
    """It wants to be probed where its app is, where nothing is, and at the proxy's own ports."""
    found = a_pod_object(pod.name)
    ports = (ANSWERED_PORT, CLOSED_PORT, OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT)
    containers = [{"name": f"app-{port}", "readinessProbe": {"tcpSocket": {"port": port}}} for port in ports]
    status = {"phase": "Running", "podIPs": [{"ip": address} for address in pod.addresses]}
    return {**found, "spec": {**found["spec"], "containers": containers}, "status": status}


@contextlib.contextmanager
def probed() -> Iterator[NodeWorld]:
    """A node with a kubelet, an enrolled pod and one that is not; an app in each where the proxy answers itself."""
    with node_world() as world:
        for _ in range(2):
            pod = world.add_sandbox()
            world.fill(pod)
            world.put(pod, a_probed_pod(pod))
            for port in (ANSWERED_PORT, UNPROBED_PORT):
                assert pod.start(str(SUPPORT / "app.py"), "serve", str(port)).line() == "ready"
        named(world, "kubelet")
        world.start_agent()
        world.start_proxy()
        world.pods[0].enrol()
        until_known(world)
        yield world


def until_known(world: NodeWorld, number: int = 1) -> None:
    """Wait until the agent knows that many cgroups as a kubelet's."""
    eventually(lambda: world.metric("weft_kubelet_cgroups") == number)
