"""Weft in a cluster of the lab's, installed and used by the commands that a person types."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.lab.capture import Recording, recorded
from agent.lab.session import until
from agent.node.cni_config import PLUGIN
from agent.wire import REDIRECTION_ANNOTATION
from tests.support.lab_world import LabWorld
from tests.support.mesh import Load

ROOT = Path(__file__).parents[2]
LOAD = ROOT / "tests/support/load.py"
SYSTEM = "istio-system"
RATE = 300
ROLLOUT_SECONDS = 50
# A connection that goes on for as long as the test lets it: a request at each line, answered on the same connection.
TALK = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
for line in sys.stdin:
    was = connection.sock
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    answer.read()
    print("again" if was is not None and connection.sock is was else "anew", flush=True)
"""


class Installation:
    """The mesh in a world; `apply` installs it."""

    def __init__(self, world: LabWorld) -> None:
        self.world = world
        self._kubectl = world.plane.kubectl

    def apply(self) -> None:
        """Two commands, and every process is ready."""
        self._kubectl("apply", "--server-side", f"--kustomize={ROOT}/daemonset/crds")
        self._kubectl("apply", "--server-side", f"--kustomize={ROOT}/daemonset")
        for workload in ("deployment/weft-controller", "daemonset/weft-node", "daemonset/weft-proxy"):
            self.await_rollout(workload)

    def remove(self) -> None:
        """One command, and no process is there any more."""
        self._kubectl("delete", f"--kustomize={ROOT}/daemonset", "--ignore-not-found", "--timeout=60s")

    def left_on(self, node: str) -> list[str]:
        """The mesh's files on a node, in its CNI configuration too, and its programs in the kernel."""
        root, pins = self.world.lab.folder / node / "root", self.world.lab.folder / "bpf" / node
        named = [path for path in root.rglob("*") if "weft" in path.name or "ztunnel" in path.name]
        chains = root / "etc/cni/net.d"  # the lab's own file has its name
        left = [path for path in named if not path.is_dir() and path.parent != chains]
        left += [path for path in chains.iterdir() if PLUGIN in path.read_text()]
        return [str(path.relative_to(root)) for path in left] + [str(path) for path in pins.rglob("*")]

    def await_rollout(self, workload: str) -> None:
        self.kubectl("rollout", "status", workload, f"--timeout={ROLLOUT_SECONDS}s")

    def restart(self, workload: str) -> None:
        """What an upgrade does to its pods."""
        self.kubectl("rollout", "restart", workload)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """In the mesh's namespace."""
        return self._kubectl(f"--namespace={SYSTEM}", *arguments, stdin=stdin)

    def pods(self, selector: str = "", namespace: str = SYSTEM) -> list[dict[str, Any]]:
        chosen = [f"--selector={selector}"] if selector else []
        found: list[dict[str, Any]] = json.loads(
            self._kubectl("get", "pods", f"--namespace={namespace}", "--output=json", *chosen)
        )["items"]
        return found

    def is_enrolled(self, namespace: str) -> list[bool]:
        """Of each pod of a namespace, whether it says so."""
        annotations = [pod["metadata"].get("annotations", {}) for pod in self.pods(namespace=namespace)]
        return [found.get(REDIRECTION_ANNOTATION) == "enabled" for found in annotations]

    def label(self, namespace: str, mode: str) -> None:
        """`ambient`, or `-`, which takes the label off."""
        text = "istio.io/dataplane-mode" + (mode if mode == "-" else f"={mode}")
        self._kubectl("label", "namespace", namespace, text, "--overwrite")

    def enrol(self, namespace: str) -> None:
        self.label(namespace, "ambient")
        until("every pod is enrolled", lambda: all(self.is_enrolled(namespace)), timeout=30)

    def withdraw(self, namespace: str) -> None:
        self.label(namespace, "-")
        until("no pod is enrolled", lambda: not any(self.is_enrolled(namespace)), timeout=30)

    def curl(self, pod: str, url: str) -> subprocess.CompletedProcess[str]:
        return self.world.lab.run(pod, "curl", "-sS", "--max-time", "10", url)

    def answers(self, pod: str, url: str) -> bool:
        return self.curl(pod, url).returncode == 0

    @contextlib.contextmanager
    def wire(self, node: str = "node-1") -> Iterator[Recording]:
        """What crosses the wire of a node, but for what is said to the API server and the controller."""
        quiet = "tcp and not port 6443 and not port 443 and not port 15012"
        with recorded(self.world.lab.netns(node), filter=quiet) as recording:
            yield recording

    @contextlib.contextmanager
    def load(self, pod: str, address: str) -> Iterator[Load]:
        """New connections from a pod while the block runs."""
        seen = Load()
        command = [sys.executable, "-c", LOAD.read_text()]  # a container does not see the tests
        with self.world.lab.started(pod, *command, address, "80", str(RATE)) as process:
            yield seen
            said, errors = process.communicate(timeout=60)
            assert said, errors
            found = json.loads(said)
        seen.made, seen.failures = found["made"], tuple(found["failures"])

    @contextlib.contextmanager
    def talk(self, pod: str, host: str) -> Iterator[subprocess.Popen[str]]:
        """One connection of HTTP that stays; see `says`."""
        with self.world.lab.started(pod, sys.executable, "-c", TALK, host) as process:
            yield process


def says(process: subprocess.Popen[str]) -> str:
    """One more question on the connection: whether it was asked on the one before (`again`) or on another (`anew`)."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()
