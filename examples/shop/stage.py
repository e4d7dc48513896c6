"""What the steps of the demo stand on: the lab, the shop's manifests, and who asks whom."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.errors import UnavailableError
from agent.lab.capture import Recording, recorded
from agent.lab.session import Session

FRONTEND = "shop/frontend"
OUTSIDE = "outside/client"
URL = "http://web.shop.svc.cluster.local"
SECRET = "the-customer-s-card-number"  # travels in a request header; must never be seen on the wire


class Stage:
    """A running lab with the shop; an edit in `manifests` takes effect."""

    def __init__(self, lab: Session, manifests: Path) -> None:
        self.lab = lab
        self.manifests = manifests

    def wire(self) -> contextlib.AbstractContextManager[Recording]:
        """Everything between the nodes while the block runs."""
        return recorded(self.lab.netns("node-1"))

    def fetch(self, *options: str) -> str:
        """What the frontend's curl prints of the shop's page."""
        command = ["curl", "-sS", "--max-time", "5", "-H", f"X-Card: {SECRET}", *options, URL]
        done = self.lab.run(FRONTEND, *command)
        hold(done.returncode == 0, f"curl failed: {done.stderr.strip()}")
        return done.stdout

    def answers(self, pod: str = FRONTEND) -> bool:
        """Whether the shop answers a pod."""
        command = ["curl", "-sS", "--max-time", "5", "-o", "/dev/null", "-H", f"X-Card: {SECRET}", URL]
        return self.lab.run(pod, *command).returncode == 0

    @contextlib.contextmanager
    def dashboard(self) -> Iterator[str]:
        """The address of the page of the mesh while the block runs."""
        typed = [sys.executable, "-m", "agent.cli.main", "dashboard", "--lab", self.lab.name, "--no-browser"]
        with subprocess.Popen(typed, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process.stdout.readline().strip() if process.stdout else ""
            finally:
                process.terminate()

    def weft(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What a person would type, `weft COMMAND …`; its exit status is not judged."""
        typed = [sys.executable, "-m", "agent.cli.main", command, "--lab", self.lab.name, *arguments]
        return subprocess.run(typed, capture_output=True, text=True, timeout=30, check=False)

    def write(self, name: str, text: str) -> None:
        """A manifest, in place at once."""
        temporary = self.manifests / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.manifests / name)

    def label(self, line: str) -> None:
        """Rewrite the namespace's manifest with this label, or with none."""
        labels = f"\n  labels:\n    {line}" if line else ""
        self.write("namespace.yaml", f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop{labels}\n")

    def pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self.lab.status()["pods"] if pod["name"].startswith("shop/")]

    def enrolled(self) -> int:
        return sum(pod["enrolled"] for pod in self.pods())

    def container_pids(self) -> dict[str, int]:
        return {pod["name"]: pod["pid"] for pod in self.pods()}


def hold(claim: object, otherwise: str) -> None:
    """Raises UnavailableError with the text if the claim does not hold."""
    if not claim:
        raise UnavailableError(otherwise)
