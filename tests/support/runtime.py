"""The part of a container runtime that starts pods: it runs the CNI chain, and then the pod."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.wire import DATAPLANE_MODE_LABEL
from tests.support.node_world import ROOT, NodeWorld, PodWorld, Process, a_pod_object

PLUGIN = ROOT / ".venv" / "bin" / "weft-cni"
# What a plugin that makes bridges is told; the node world's bridge is the test's own.
BRIDGE = {"type": "bridge", "bridge": "br0", "ipam": {"type": "host-local", "subnet": "10.77.0.0/24"}}


@dataclass(frozen=True)
class Called:
    """What the plugin said, and after how long."""

    exit_status: int
    answer: Any
    seconds: float


@dataclass
class Runtime:
    """Of a node: `configurations` and `programs` are its CNI folders."""

    world: NodeWorld
    wait_seconds: int = 20

    @property
    def configurations(self) -> Path:
        return self.world.folder / "net.d"

    @property
    def programs(self) -> Path:
        return self.world.folder / "cni-bin"

    @property
    def socket(self) -> Path:
        return self.world.folder / "run" / "cni.sock"

    @property
    def settings(self) -> Mapping[str, str]:
        """The agent's, with which it installs and serves the plugin."""
        return {
            "WEFT_CNI_SOCKET": str(self.socket),
            "CNI_NET_DIR": str(self.configurations),
            "CNI_BIN_DIR": str(self.programs),
            "WEFT_CNI_PROGRAM": str(PLUGIN),
        }

    def write(self, name: str, text: str) -> None:
        """A configuration as a network's own installer writes it."""
        self.configurations.mkdir(exist_ok=True)
        temporary = self.configurations / f".{name}.new"
        temporary.write_text(text)
        temporary.rename(self.configurations / name)

    def chain(self) -> list[Any]:
        """The plugins of the file that a runtime takes."""
        names = sorted(path for path in self.configurations.iterdir() if path.suffix in (".conf", ".conflist", ".json"))
        plugins: list[Any] = json.loads(names[0].read_text()).get("plugins", [])
        return plugins

    def create(self, pod: PodWorld, mode: str | None = "ambient", namespace: str = "shop") -> None:
        """The pod's object, as it is before kubelet has told of its address."""
        made = a_pod_object(pod.name)
        labels = {DATAPLANE_MODE_LABEL: mode} if mode else {}
        self.world.put(pod, {**made, "metadata": {**made["metadata"], "namespace": namespace, "labels": labels}})

    def call(self, command: str, pod: PodWorld, namespace: str = "shop", **changes: Any) -> Called:
        """Run the installed plugin as a runtime does. `changes`: of its configuration."""
        return finished(self.begin(command, pod, namespace, **changes))

    def begin(self, command: str, pod: PodWorld, namespace: str = "shop", **changes: Any) -> Call:
        own = next(plugin for plugin in self.chain() if plugin["type"] == "weft-cni")
        configuration = {**own, "cniVersion": "1.0.0", "name": "pods", "waitSeconds": self.wait_seconds}
        if command in ("ADD", "CHECK", "DEL"):
            configuration["prevResult"] = previous(pod)
        arguments = f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod.name};K8S_POD_UID={pod.uid}"
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"sandbox-{pod.uid}",
            "CNI_NETNS": f"/run/netns/{pod.netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.programs),
            "CNI_ARGS": f"IgnoreUnknown=1;{arguments}",
        }
        started = time.monotonic()
        process = subprocess.Popen(
            [self.programs / "weft-cni"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({**configuration, **changes}))
        process.stdin.close()
        return Call(process, started)

    def start(self, pod: PodWorld, *arguments: str) -> Process:
        """The pod's program, from its first moment on in its namespace; the runtime's plugins have agreed."""
        added = self.call("ADD", pod)
        assert added.exit_status == 0, added.answer
        return pod.start(*arguments)


@dataclass
class Call:
    """A plugin that runs."""

    process: subprocess.Popen[str]
    started: float


def finished(call: Call) -> Called:
    """What became of it."""
    assert call.process.stdout is not None
    with call.process.stdout as output:
        said = output.read()
    status = call.process.wait(60)
    return Called(status, json.loads(said) if said else None, time.monotonic() - call.started)


def previous(pod: PodWorld) -> dict[str, Any]:
    """The result of a bridge plugin."""
    return {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "br0", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": f"/run/netns/{pod.netns}"},
        ],
        "ips": [
            {"interface": 1, "address": f"{pod.addresses[0]}/24", "gateway": "10.77.0.1"},
            {"interface": 1, "address": f"{pod.addresses[1]}/64"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.96.0.10"]},
    }
