"""A node for the kernel tests: namespaces, cgroups, a BPF file system, a state directory.

Everything has a unique name and is gone when the block ends, also after a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import kube
from agent.kube import StateDirectory
from agent.node import cgroups, layout, libbpf
from agent.wire import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
PATIENCE_SECONDS = 20.0


def eventually(check: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true result of check(); AssertionError when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return result


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


@dataclass
class Process:
    """A process that the test started, in a namespace and a cgroup."""

    popen: subprocess.Popen[str]

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise


@dataclass
class PodWorld:
    """A pod: its namespace, cgroup and object."""

    world: NodeWorld
    uid: str
    name: str
    netns: str
    addresses: tuple[str, str]

    def start(self, *arguments: str) -> Process:
        """Run Python in the pod."""
        return self.world.start(self.netns, f"kubepods/pod{self.uid}", sys.executable, *arguments)

    def run(self, code: str) -> Any:
        """Run a few lines of Python in the pod; what they assign to `result`, through JSON."""
        prelude = "import json, os, socket, struct\n"
        process = self.start("-c", f"{prelude}{code}\nprint(json.dumps(result))")
        out, _ = process.popen.communicate(timeout=20)
        assert process.popen.returncode == 0, f"the pod's code failed: {code}"
        return json.loads(out)

    def answer_from(self, address: str, port: int, setup: str = "") -> Any:
        """Connect from the pod: what the socket shows, and the JSON that comes back."""
        return self.run(
            f"""
s = socket.socket(socket.{"AF_INET6" if ":" in address else "AF_INET"})
s.settimeout(5)
result = {{}}
try:
    {setup or "pass"}
    s.connect(({address!r}, {port}))
    result["peer"], result["own"] = s.getpeername()[:2], s.getsockname()[:2]
    result["answer"] = json.loads(s.makefile().readline() or "null")
except OSError as exc:
    result["error"] = exc.errno or type(exc).__name__
"""
        )

    def annotation(self) -> str | None:
        found = asyncio.run(self.world.state.get(kube.POD, "shop", self.name))
        return (found["metadata"].get("annotations") or {}).get(REDIRECTION_ANNOTATION)

    def set_mode(self, mode: str | None) -> None:
        patch = {"metadata": {"labels": {DATAPLANE_MODE_LABEL: mode}}}
        asyncio.run(self.world.state.patch(kube.POD, "shop", self.name, patch))

    def enrol(self) -> None:
        """Label the pod, and return when it is enrolled."""
        self.set_mode("ambient")
        eventually(lambda: self.annotation() == "enabled")

    def sysctl(self, name: str) -> str:
        return run("nsenter", f"--net=/run/netns/{self.netns}", "cat", f"/proc/sys/{name}").strip()

    def inside(self, *command: str) -> str:
        return run("nsenter", f"--net=/run/netns/{self.netns}", *command)


@dataclass
class NodeWorld:
    """The node. Pods get 10.77.0.11, fd77::11 and so on; the outside is 10.77.0.1, fd77::1."""

    tag: str
    folder: Path
    cgroup: Path
    state: StateDirectory
    outside: str
    host: str
    pods: list[PodWorld] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)

    @property
    def pins(self) -> Path:
        return self.folder / "bpf" / "node"

    @property
    def socket(self) -> Path:
        return self.folder / "ztunnel.sock"

    def start(self, netns: str, cgroup: str, *command: str, **environment: str) -> Process:
        """Run a command in a namespace and a cgroup of the node."""
        procs = self.cgroup / cgroup / "cgroup.procs"
        script = f'echo $$ > {procs}; exec nsenter --net=/run/netns/{netns} "$@"'
        popen = subprocess.Popen(
            ["sh", "-c", script, "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        process = Process(popen)
        self.processes.append(process)
        return process

    def add_sandbox(self, uid: str = "") -> PodWorld:
        """A pod's network and cgroup, as they are before anything of it runs; its object is others' to make."""
        index = 11 + len(self.pods)
        uid = uid or str(uuid.uuid4())
        netns = f"{self.tag}-p{index}"
        _create_netns(self.outside, netns, index)
        (self.cgroup / "kubepods" / f"pod{uid}").mkdir(parents=True)
        pod = PodWorld(self, uid, f"pod-{index}", netns, (f"10.77.0.{index}", f"fd77::{index}"))
        self.pods.append(pod)
        return pod

    def add_pod(self) -> PodWorld:
        """A pod of the state directory, with a process."""
        pod = self.add_sandbox()
        self.fill(pod)
        self._create(pod)
        return pod

    def fill(self, pod: PodWorld) -> None:
        """Start a process in a sandbox."""
        self.start(pod.netns, f"kubepods/pod{pod.uid}", "sleep", "infinity")
        eventually(lambda: cgroups.processes_of(pod.uid, self.cgroup))

    def _create(self, pod: PodWorld) -> None:
        status = {"phase": "Running", "podIPs": [{"ip": address} for address in pod.addresses]}
        self.put(pod, {**a_pod_object(pod.name), "status": status})

    def put(self, pod: PodWorld, new: kube.Object) -> None:
        """Store the pod's object under its own uid, which an API server would choose; its cgroup has it already."""
        metadata = {**new["metadata"], "uid": pod.uid, "resourceVersion": "1"}
        path = self.folder / "state" / "pods" / f"{metadata['namespace']}_{pod.name}.json"
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(json.dumps({**new, "metadata": metadata}))
        temporary.rename(path)

    def start_agent(self, node: str = "node", **environment: str) -> Process:
        """Run `weft node` in the node's namespace, and return when it is ready.

        Its cluster is the state directory, unless KUBECONFIG is given.
        """
        if "KUBECONFIG" not in environment:
            environment = {"WEFT_STATE_DIRECTORY": str(self.folder / "state"), **environment}
        agent = self.start(
            self.host,
            "system/node",
            sys.executable,
            "-m",
            "agent.node.main",
            NODE_NAME=node,
            INPOD_UDS=str(self.socket),
            WEFT_CGROUP_ROOT=str(self.cgroup),
            WEFT_PIN_DIRECTORY=str(self.pins),
            **environment,
        )
        # Compiling and loading the programs takes seconds, on a busy machine many.
        eventually(lambda: agent.popen.poll() is not None or self.fetch("8000/readyz") == "ready\n", 60)
        assert agent.popen.poll() is None, "the agent ended"
        return agent

    def remove_agent(self, **environment: str) -> None:
        """Run `weft node --remove`."""
        remover = self.start(
            self.host,
            "system/node",
            sys.executable,
            "-m",
            "agent.node.main",
            "--remove",
            NODE_NAME="node",
            WEFT_STATE_DIRECTORY=str(self.folder / "state"),
            WEFT_CGROUP_ROOT=str(self.cgroup),
            WEFT_PIN_DIRECTORY=str(self.pins),
            **environment,
        )
        assert remover.popen.wait(20) == 0

    def start_proxy(self, *refused: str) -> Process:
        """Run the stand-in proxy, and return when it has the snapshot."""
        name = f"system/proxy{len(self.processes)}"
        (self.cgroup / name).mkdir()
        script = str(SUPPORT / "stand_in_proxy.py")
        proxy = self.start(self.host, name, sys.executable, script, str(self.socket), *refused)
        assert proxy.line() == "ready"
        return proxy

    def fetch(self, where: str) -> str:
        """GET from the agent, in its namespace; empty when it does not answer."""
        code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{where}').read().decode(), end='')"
        command = ["nsenter", f"--net=/run/netns/{self.host}", sys.executable, "-c", code]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=10).stdout

    def metric(self, name: str) -> float:
        """The value of a sample, named with its labels; 0 when it is not there."""
        for line in self.fetch("15014/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def entries(self) -> int:
        """How many pods the kernel knows."""
        with contextlib.closing(libbpf.Map(self.pins / layout.VERSION / "maps" / "pods")) as pods:
            return len(pods.keys())

    def unfinished(self) -> list[int]:
        """The pods' unfinished connects."""
        with contextlib.closing(libbpf.Map(self.pins / layout.VERSION / "maps" / "unfinished")) as counts:
            return [int.from_bytes(counts.lookup(key) or b"", "little") for key in counts.keys()]  # noqa: SIM118

    def delete(self, pod: PodWorld) -> None:
        """Delete the pod's object, then end its processes."""
        asyncio.run(self.state.delete(kube.POD, "shop", pod.name))
        for pid in cgroups.processes_of(pod.uid, self.cgroup):
            os.kill(pid, signal.SIGKILL)

    def resident_mebibytes(self, process: Process) -> float:
        for line in Path(f"/proc/{process.popen.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process has ended")

    def start_outside(self, *arguments: str) -> Process:
        """Run Python on a host that is not in the mesh."""
        return self.start(self.outside, "outside", sys.executable, *arguments)

    def from_outside(self, address: str, port: int) -> Any:
        """Connect from outside: the JSON that comes back, or the error."""
        code = f"""
import json, socket
try:
    s = socket.create_connection(({address!r}, {port}), 5)
    result = json.loads(s.makefile().readline() or "null")
except OSError as exc:
    result = {{"error": exc.errno or type(exc).__name__}}
print(json.dumps(result))
"""
        process = self.start_outside("-c", code)
        out, _ = process.popen.communicate(timeout=20)
        return json.loads(out)


def a_pod_object(name: str) -> kube.Object:
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"nodeName": "node", "serviceAccountName": "default", "containers": [{"name": "app"}]},
    }


def _create_netns(outside: str, netns: str, index: int) -> None:
    run("ip", "netns", "add", netns)
    run("ip", "-n", netns, "link", "set", "lo", "up")
    run("ip", "-n", outside, "link", "add", f"v{index}", "type", "veth", "peer", "name", "eth0", "netns", netns)
    run("ip", "-n", outside, "link", "set", f"v{index}", "master", "br0", "up")
    run("ip", "-n", netns, "addr", "add", f"10.77.0.{index}/24", "dev", "eth0")
    run("ip", "-n", netns, "addr", "add", f"fd77::{index}/64", "dev", "eth0", "nodad")
    run("ip", "-n", netns, "link", "set", "eth0", "up")
    run("ip", "-n", netns, "route", "add", "default", "via", "10.77.0.1")


def _create_outside(netns: str) -> None:
    run("ip", "netns", "add", netns)
    run("ip", "-n", netns, "link", "set", "lo", "up")
    run("ip", "-n", netns, "link", "add", "br0", "type", "bridge")
    run("ip", "-n", netns, "addr", "add", "10.77.0.1/24", "dev", "br0")
    run("ip", "-n", netns, "addr", "add", "fd77::1/64", "dev", "br0", "nodad")
    run("ip", "-n", netns, "link", "set", "br0", "up")


@contextlib.contextmanager
def node_world() -> Iterator[NodeWorld]:
    """A node without an agent and without pods."""
    tag = f"weft-n{os.getpid()}-{uuid.uuid4().hex[:4]}"
    mount = cgroups.find_mount()
    cgroup = mount.path / tag
    outside, host = f"{tag}-out", f"{tag}-host"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{tag}-")))
        (folder / "bpf").mkdir()
        run("mount", "-t", "bpf", "bpf", str(folder / "bpf"))
        stack.callback(run, "umount", "-l", str(folder / "bpf"))
        state = StateDirectory.create_at(folder / "state")
        for name in ("system/node", "kubepods", "outside"):
            (cgroup / name).mkdir(parents=True)
        stack.callback(_remove_cgroup, cgroup)
        stack.callback(shutil.rmtree, folder / "bpf" / "node", ignore_errors=True)
        world = NodeWorld(tag, folder, cgroup, state, outside, host)
        stack.callback(_remove_namespaces, tag)
        stack.callback(_end_processes, world)
        _create_outside(outside)
        run("ip", "netns", "add", host)
        run("ip", "-n", host, "link", "set", "lo", "up")
        namespace = {"metadata": {"name": "shop"}}
        asyncio.run(state.create(kube.NAMESPACE, namespace))
        yield world


def _end_processes(world: NodeWorld) -> None:
    for process in world.processes:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()
        if process.popen.stdout is not None:
            process.popen.stdout.close()


def _remove_namespaces(tag: str) -> None:
    for name in sorted(path.name for path in Path("/run/netns").glob(f"{tag}-*")):
        run("ip", "netns", "del", name)


def _remove_cgroup(cgroup: Path) -> None:
    for folder, _, _ in os.walk(cgroup, topdown=False):
        eventually(lambda folder=folder: _removed(Path(folder)), 5)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
