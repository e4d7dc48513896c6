"""Debian's Prometheus over a lab: it scrapes the mesh from the network that joins the nodes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.errors import UnavailableError
from agent.lab import namespaces
from agent.lab.addresses import CONTROL_ADDRESS, node_plans
from agent.lab.layout import FABRIC
from agent.lab.session import Session, until
from agent.wire import DEBUG_PORT, METRICS_PORT

PORT = 9090
NODES = 2


def targets() -> dict[str, list[str]]:
    """HOST:PORT of every process of a lab, by kind."""
    nodes = [str(node.address.v4) for node in node_plans(NODES)]
    return {
        "controller": [f"{CONTROL_ADDRESS.v4}:{DEBUG_PORT}"],
        "node": [f"{host}:{DEBUG_PORT}" for host in nodes],
        "proxy": [f"{host}:{METRICS_PORT}" for host in nodes],
    }


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one; `netns` is where it listens."""

    netns: str

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API; RuntimeError says what it finds wrong with the question."""
        url = f"http://127.0.0.1:{PORT}/api/v1/{path}?{urllib.parse.urlencode(query)}"

        def fetch() -> Any:
            with contextlib.closing(urllib.request.urlopen(url, timeout=10)) as answer:
                return json.load(answer)["data"]

        try:
            return namespaces.inside(self.netns, fetch)
        except urllib.error.HTTPError as exc:
            raise RuntimeError(f"{query}: {exc.read().decode()}") from exc

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The values of an instant query, by the values of their labels in the order of the labels' names."""
        found = self.ask("query", query=expression)["result"]
        return {tuple(value for _, value in sorted(each["metric"].items())): float(each["value"][1]) for each in found}

    def health(self) -> dict[str, str]:
        """up, down or unknown, by scraped address."""
        return {each["labels"]["instance"]: each["health"] for each in self.ask("targets")["activeTargets"]}

    def is_ready(self) -> bool:
        try:
            return bool(self.ask("status/runtimeinfo"))
        except (OSError, RuntimeError):  # it does not listen yet, or is not ready
            return False


@contextlib.contextmanager
def scraping(lab: Session) -> Iterator[Prometheus]:
    """Prometheus over a lab while the block runs."""
    jobs = [{"job_name": kind, "static_configs": [{"targets": hosts}]} for kind, hosts in targets().items()]
    with running(lab.netns(FABRIC), jobs) as found:
        yield found


@contextlib.contextmanager
def running(netns: str, jobs: Sequence[Mapping[str, Any]]) -> Iterator[Prometheus]:
    """Prometheus in a network namespace while the block runs; `jobs` as its configuration has them, each second."""
    with tempfile.TemporaryDirectory(prefix="weft-prometheus-") as folder:
        config = Path(folder) / "prometheus.yml"
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": list(jobs)}))
        found = Prometheus(netns)
        options = [
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{PORT}",
        ]
        command = ["nsenter", f"--net=/run/netns/{netns}", "prometheus", *options]
        log = Path(folder) / "log"
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                until("Prometheus answers", lambda: found.is_ready() or process.poll() is not None)
                if process.poll() is not None:
                    raise UnavailableError(f"prometheus has ended: {log.read_text()}")
                yield found
            finally:
                process.terminate()
