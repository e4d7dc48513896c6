"""`make bench`: the mesh against direct TCP, in one lab, in turn.

Two pairs of pods on the same two nodes, one pair enrolled and one not, do the same work
alternately, so that whatever else the machine does hits both. A row gives the median of the
mesh, the median of direct TCP, and the ratio of each pair's samples: their median and the
interval between the second smallest and second largest (of ten: 98 % of a median's confidence;
of fewer, the smallest and largest).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from agent.lab import namespaces
from agent.lab.session import Session, until
from agent.wire import REDIRECTION_ANNOTATION, REDIRECTION_ENABLED
from bench import results, validation
from bench.verdicts import verdicts

ROOT = Path(__file__).resolve().parent.parent
PAIRS = int(os.environ.get("BENCH_PAIRS", "10"))
SECONDS = 2
LOAD_SECONDS = int(os.environ.get("BENCH_LOAD_SECONDS", "60"))
IPERF, SOCKPERF, LOAD = 5201, 11111, 7000
MESH, DIRECT = "bench-mesh", "bench-direct"
ENROLLED = 20


@dataclass(slots=True)
class Row:
    """Samples of one workload: the mesh's and direct TCP's, in pairs; direct may be empty."""

    workload: str
    unit: str
    mesh: list[float] = field(default_factory=list)
    direct: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        return sorted(m / d for m, d in zip(self.mesh, self.direct, strict=False))


def manifests() -> list[dict[str, object]]:
    """Both namespaces with their two pods; a server of each kind in the second."""
    servers = (
        f"iperf3 -s -p {IPERF} >/dev/null & sockperf server --tcp -i 0.0.0.0 -p {SOCKPERF} >/dev/null & "
        f"exec {sys.executable} -m bench.load serve {LOAD}"
    )
    found: list[dict[str, object]] = []
    for namespace in (MESH, DIRECT):
        found.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        for name, node, command in (("client", "node-1", "exec sleep infinity"), ("server", "node-2", servers)):
            container = {
                "name": "main",
                "command": ["sh", "-c", command],
                "env": [{"name": "PYTHONPATH", "value": str(ROOT)}],
            }
            found.append(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
                    "spec": {"nodeName": node, "containers": [container]},
                }
            )
    found.append(idle_pods())
    return found


def idle_pods() -> dict[str, object]:
    """So many that each node serves ten enrolled pods."""
    container = {"name": "main", "command": ["sleep", "infinity"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "idle", "namespace": MESH},
        "spec": {
            "replicas": ENROLLED - 2,
            "selector": {"matchLabels": {"app": "idle"}},
            "template": {"metadata": {"labels": {"app": "idle"}}, "spec": {"containers": [container]}},
        },
    }


class Bench:
    """One lab with both pairs of pods in it."""

    def __init__(self, lab: Session, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._addresses: dict[str, str] = {}

    def start(self) -> None:
        self._write(enrolled=False)
        self._lab.up(self._folder)
        pods = {pod["name"]: pod for pod in self._lab.status()["pods"]}
        for namespace in (MESH, DIRECT):
            self._addresses[namespace] = pods[f"{namespace}/server"]["addresses"][0]

    def enrol(self, *, enrolled: bool) -> float:
        """Seconds from the label's edit until all pods of the namespace are as it says."""
        started = time.monotonic()
        self._write(enrolled=enrolled)
        until("the bench's pods follow their label", lambda: self._enrolled() == enrolled * ENROLLED, pause=0.005)
        return time.monotonic() - started

    def bulk(self, namespace: str, streams: int) -> float:
        """Gbit/s that arrive at the server."""
        said = self._client(
            namespace,
            "iperf3",
            "-J",
            "-c",
            self._addresses[namespace],
            "-p",
            str(IPERF),
            "-t",
            str(SECONDS),
            "-P",
            str(streams),
        )
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def round_trip(self, namespace: str) -> dict[str, float]:
        """Microseconds there and back of 64 bytes: p50 and p99."""
        said = self._client(
            namespace, "sockperf", "ping-pong", "--tcp", "-i", self._addresses[namespace], "-p", str(SOCKPERF),
            "-m", "64", "-t", str(SECONDS), "--full-rtt",
        )  # fmt: skip
        lines = {
            line.split("percentile")[1].split("=")[0].strip(): line
            for line in said.splitlines()
            if "percentile" in line
        }
        return {name: float(lines[key].rsplit("=", 1)[1]) for name, key in (("p50", "50.000"), ("p99", "99.000"))}

    def connections(self, namespace: str, seconds: int) -> dict[str, object]:
        """New connections a second, 16 at a time, second by second, and how many failed."""
        said = self._client(
            namespace, "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.load", "connect",
            self._addresses[namespace], str(LOAD), "16", str(seconds),
        )  # fmt: skip
        found: dict[str, object] = json.loads(said)
        return found

    def propagation(self, attempt: int) -> float:
        """Seconds from a manifest's edit until the engine of node 1 knows of it."""
        name = f"probe-{attempt}"
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": MESH}}
        text = yaml.safe_dump(service | {"spec": {"ports": [{"port": 80}]}})

        def wait_for_it() -> float:
            temporary = self._folder / ".probe.yaml"
            temporary.write_text(text)
            started = time.monotonic()
            temporary.rename(self._folder / "probe.yaml")
            until("the engine knows the service", lambda: name in config_dump(), pause=0.001)
            return time.monotonic() - started

        return namespaces.inside(self._lab.netns("node-1"), wait_for_it)

    def memory(self) -> dict[str, float]:
        """Resident MiB of each process of the mesh."""
        found = {}
        for process in self._lab.status()["processes"]:
            for line in Path(f"/proc/{process['pid']}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    found[process["name"]] = int(line.split()[1]) / 1024
        return found

    def _client(self, namespace: str, *command: str) -> str:
        done = self._lab.run(f"{namespace}/client", *command, timeout=LOAD_SECONDS + 60)
        if done.returncode:
            said = done.stdout + done.stderr
            sys.exit(f"{command[0]} in {namespace}/client failed with {done.returncode}: {said}")
        return done.stdout

    def _enrolled(self) -> int:
        """Straight from the state directory: a command's start would be most of what is measured."""
        files = (self._lab.folder / "state" / "pods").glob(f"{MESH}_*.json")
        found = [json.loads(file.read_text())["metadata"].get("annotations", {}) for file in files]
        return sum(annotations.get(REDIRECTION_ANNOTATION) == REDIRECTION_ENABLED for annotations in found)

    def _write(self, *, enrolled: bool) -> None:
        found = manifests()
        if enrolled:
            found[0]["metadata"] = {"name": MESH, "labels": {"istio.io/dataplane-mode": "ambient"}}
        temporary = self._folder / ".bench.yaml"
        temporary.write_text(yaml.safe_dump_all(found))
        temporary.rename(self._folder / "bench.yaml")


def config_dump() -> str:
    """What the node proxy of this namespace knows."""
    with urllib.request.urlopen("http://127.0.0.1:15000/config_dump", timeout=5) as answer:
        return str(answer.read().decode())


def paired(row: Row, sample: Callable[[str], float]) -> Row:
    """Fill a row with PAIRS pairs, the order within a pair alternating."""
    for pair in range(PAIRS):
        for namespace in (MESH, DIRECT) if pair % 2 else (DIRECT, MESH):
            (row.mesh if namespace == MESH else row.direct).append(sample(namespace))
    return row


def measure(bench: Bench, say: Callable[[str], None]) -> list[Row]:
    """Everything, in the order of the table."""
    rows = []
    enrolment = Row(f"enrolment of {ENROLLED} running pods", "ms")
    for _ in range(PAIRS):
        enrolment.mesh.append(bench.enrol(enrolled=True) * 1000)
        bench.enrol(enrolled=False)
    bench.enrol(enrolled=True)
    say("enrolment done")
    for streams in (1, 8):
        rows.append(paired(Row(f"bulk-{streams}", "Gbit/s"), lambda namespace, n=streams: bench.bulk(namespace, n)))
        say(f"bulk-{streams} done")
    p50, p99 = Row("rtt-64-p50", "us"), Row("rtt-64-p99", "us")
    for pair in range(PAIRS):
        for namespace in (MESH, DIRECT) if pair % 2 else (DIRECT, MESH):
            found = bench.round_trip(namespace)
            for row, key in ((p50, "p50"), (p99, "p99")):
                (row.mesh if namespace == MESH else row.direct).append(found[key])
    rows += [p50, p99]
    say("round trips done")
    rows.append(paired(Row("connections-16", "1/s"), lambda n: _mean(bench.connections(n, SECONDS))))
    sustained = bench.connections(MESH, LOAD_SECONDS)
    seconds: list[int] = sustained["per_second"]  # type: ignore[assignment]
    third = max(1, len(seconds) // 3)
    rows.append(Row(f"connections-16, first third of {LOAD_SECONDS} s", "1/s", [statistics.mean(seconds[:third])]))
    rows.append(Row(f"connections-16, last third of {LOAD_SECONDS} s", "1/s", [statistics.mean(seconds[-third:])]))
    rows.append(Row("connections-16, failed", "", [float(str(sustained["failed"]))]))
    say("connections done")
    rows.append(enrolment)
    rows.append(Row("file change to engine", "ms", [bench.propagation(n) * 1000 for n in range(PAIRS)]))
    rows += [Row(name, "us", [value]) for name, value in verdicts().items()]
    say("verdicts done")
    seconds_each = [validation.round_seconds() for _ in range(validation.ROUNDS)]
    rows.append(Row(f"validate {validation.OBJECTS} objects", "s", seconds_each))
    rows += [Row(f"memory {name}", "MiB", [value]) for name, value in bench.memory().items()]
    return rows


def _mean(found: dict[str, object]) -> float:
    seconds: list[int] = found["per_second"]  # type: ignore[assignment]
    return statistics.mean(seconds)


def report(rows: list[Row]) -> None:
    """Print the table and write bench/results.json."""
    table = Table(title=f"Weft against direct TCP, {PAIRS} pairs", title_justify="left")
    for heading in ("workload", "weft", "direct", "unit", "ratio", "interval"):
        table.add_column(heading, justify="left" if heading in ("workload", "unit") else "right")
    found: list[results.Result] = []
    for row in rows:
        ratios = row.ratios()
        ratio = statistics.median(ratios) if ratios else None
        outer = 1 if len(ratios) >= 10 else 0
        interval = [ratios[outer], ratios[-1 - outer]] if ratios else None
        direct = f"{statistics.median(row.direct):.4g}" if row.direct else ""
        spread = f"{interval[0]:.2f} - {interval[1]:.2f}" if interval else ""
        weft = f"{statistics.median(row.mesh):.4g}"
        table.add_row(row.workload, weft, direct, row.unit, f"{ratio:.2f}" if ratio else "", spread)
        found.append(
            {"workload": row.workload, "subject": "weft", "median": statistics.median(row.mesh), "unit": row.unit}
            | ({"ratio": ratio, "interval": interval} if ratios else {})
        )
        if row.direct:
            median = statistics.median(row.direct)
            found.append({"workload": row.workload, "subject": "direct", "median": median, "unit": row.unit})
    Console().print(table)
    results.put(found, is_scale=False)


def main() -> None:
    lab = Session(f"bench{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        bench = Bench(lab, Path(folder))
        try:
            bench.start()
            rows = measure(bench, lambda text: print(text, file=sys.stderr, flush=True))
        finally:
            lab.down()
    report(rows)


if __name__ == "__main__":
    main()
