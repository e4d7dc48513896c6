"""A node full of enrolled pods, in a lab: how fast they come and are captured, and what the node agent takes."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent.lab.layout import RUN
from agent.lab.session import Session, until
from agent.wire import DATAPLANE_MODE_LABEL, DEBUG_PORT, REDIRECTION_ANNOTATION, REDIRECTION_ENABLED
from bench.scale.measures import Row
from tests.support.mesh import Mesh

NAMESPACE: Final = "crowd"
NODE: Final = "node-1"
AT_ONCE: Final = 200
MOST: Final = 250
LABELS: Final = 50  # times that one pod is labelled
_CNI_SECONDS: Final = "weft_cni_request_duration_seconds"


def measure() -> list[Row]:
    """In a lab of its own, with the CNI plugin in its node's chain."""
    lab = Session(f"crowd{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="weft-crowd-") as folder:
        crowd = Crowd(lab, Path(folder))
        try:
            return list(crowd.measure())
        finally:
            lab.down()


class Crowd:
    """One node, and a namespace in the mesh whose pods all run on it."""

    def __init__(self, lab: Session, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._mesh = Mesh(lab, folder)

    def measure(self) -> Iterator[Row]:
        self._write(0, "none")
        self._lab.up(self._folder, nodes=1, env=_cni(self._lab.name))
        until("the plugin is chained", lambda: self._sample("weft_cni_chained") == 1)
        seconds = sorted(self._label() for _ in range(LABELS))
        yield Row("one pod's label to captured, p50", statistics.median(seconds), "s")
        yield Row("one pod's label to captured, p99", seconds[-1], "s", 1.0)
        started = time.monotonic()
        self._write(AT_ONCE, "none")
        self._await(AT_ONCE)
        yield Row(f"{AT_ONCE} pods at once, started and captured", time.monotonic() - started, "s", 10.0)
        before = self._held()
        for count in range(AT_ONCE + 1, MOST):
            self._write(count, "none")
            self._await(count)
        yield Row(f"pods of {MOST - AT_ONCE - 1} held by CNI for longer than 50 ms", self._held() - before, "", 0)
        self._write(MOST - 1, "ambient")
        self._await(MOST)
        yield Row(f"memory of the agent with {MOST} enrolled pods", self._memory(), "MiB", 90.0)

    def _label(self) -> float:
        """Seconds from the label in a file to the annotation that says the pod is captured; then out again."""
        started = time.monotonic()
        self._write(0, "ambient")
        until("it is captured", lambda: self._enrolled() == 1, pause=0.002)
        taken = time.monotonic() - started
        self._write(0, "none")
        until("it has left", lambda: self._states() <= {"outside"}, pause=0.02)  # after its last connections
        return taken

    def _states(self) -> set[str]:
        return {row["state"] for row in json.loads(self._mesh.scrape(NODE, DEBUG_PORT, "/debug/pods"))}

    def _await(self, count: int) -> None:
        until(f"{count} pods are captured", lambda: self._enrolled() == count, timeout=120, pause=0.01)

    def _enrolled(self) -> int:
        found = (self._lab.folder / "state" / "pods").glob(f"{NAMESPACE}_*.json")
        texts = [path.read_text() for path in found]
        return sum(f'"{REDIRECTION_ANNOTATION}": "{REDIRECTION_ENABLED}"' in text for text in texts)

    def _held(self) -> float:
        """Pods whose start was held for longer than 50 ms."""
        return self._sample(f"{_CNI_SECONDS}_count") - self._sample(f"{_CNI_SECONDS}_bucket", le="0.05")

    def _sample(self, name: str, **labels: str) -> float:
        text = self._mesh.scrape(NODE, DEBUG_PORT, "/metrics")
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return next(
            (each.value for each in samples if each.name == name and labels.items() <= each.labels.items()), 0.0
        )

    def _memory(self) -> float:
        text = Path(f"/proc/{self._mesh.process(f'{NODE}-node')}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) / 1024

    def _write(self, replicas: int, single: str) -> None:
        """So many pods in the mesh, and one whose own label says what it shall be."""
        labels = {DATAPLANE_MODE_LABEL: "ambient"}
        found = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
            _object("v1", "Pod", "single", {DATAPLANE_MODE_LABEL: single}, _pod()),
            _object("apps/v1", "Deployment", "many", {}, _deployment(replicas)),
        ]
        temporary = self._folder / ".crowd.yaml"
        temporary.write_text(yaml.safe_dump_all(found))
        temporary.rename(self._folder / "crowd.yaml")


def _object(version: str, kind: str, name: str, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _pod() -> dict[str, Any]:
    return {"nodeName": NODE, "containers": [{"name": "main", "command": ["sleep", "infinity"]}]}


def _deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "many"}
    template = {"metadata": {"labels": labels}, "spec": _pod()}
    return {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}


def _cni(lab: str) -> tuple[str, ...]:
    folder = RUN / lab / NODE
    settings = {
        "WEFT_CNI_SOCKET": folder / "cni.sock",
        "CNI_NET_DIR": folder / "cni" / "net.d",
        "CNI_BIN_DIR": folder / "cni" / "bin",
    }
    return tuple(f"{NODE}-node:{key}={value}" for key, value in settings.items())
