"""Writes docs/messages.md, and the tables of docs/operating.md, from the code.

With --check it only says whether they are what it would write.

A table stands between `<!-- NAME: from the code -->` and `<!-- end of NAME -->`. Settings come
from the annotations of each process's dataclass, metrics from its registry, the labels of
traffic and the events of redirection from where the engine and the BPF programs state them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from agent import config
from agent.analysis.messages import LEFT_OUT, MESSAGES
from agent.config import Variable
from agent.controller.settings import Settings as ControllerSettings
from agent.metrics import (
    CertificateCollector,
    ControllerMetrics,
    Durations,
    NodeMetrics,
    ProxyMetrics,
    RedirectionCollector,
    Traffic,
    TrafficCollector,
)
from agent.node import layout
from agent.node.settings import Settings as NodeSettings
from agent.proxy.settings import Settings as ProxySettings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "operating.md"
MESSAGES_DOCUMENT = ROOT / "docs" / "messages.md"
ENGINE_METRICS = ROOT / "proxy" / "engine" / "src" / "metrics.rs"
MESH = ROOT / "bpf" / "mesh.h"
TRAFFIC = "those of traffic, below"


def settings(of: type[Any]) -> str:
    """One process's variables."""
    rows = [(f"`{each.name}`", _default(each), each.accepted, each.meaning) for each in config.variables(of)]
    return _table(("variable", "default", "accepted", "meaning"), rows)


def _default(variable: Variable) -> str:
    if variable.is_required:
        return "**required**"
    return f"`{variable.default}`" if variable.default else variable.unset


class _NoTraffic:
    """An engine that has carried nothing yet."""

    def metrics(self) -> list[Traffic]:
        return [(dict.fromkeys(TrafficCollector.OPEN_LABELS, ""), 0, 0, 0, 0, 0, 0)]

    def metrics_overflown(self) -> int:
        return 0

    def handshake_durations(self) -> list[Durations]:
        return [("source", "ok", [(math.inf, 0)], 0.0)]

    def connect_durations(self) -> list[Durations]:
        return [("direct", "ok", [(math.inf, 0)], 0.0)]

    def sockets_open(self) -> list[tuple[str, int]]:
        return [("source", 0)]

    def access_log_dropped(self) -> int:
        return 0

    def policy_counts(self) -> list[tuple[str, str, int]]:
        return [("none", "allowed", 0)]

    def pods(self) -> list[str]:
        return []


def controller_metrics() -> str:
    registry = CollectorRegistry()
    return _metrics(registry, ControllerMetrics(registry))


def node_metrics() -> str:
    registry = CollectorRegistry()
    own = NodeMetrics(registry)
    registry.register(RedirectionCollector(lambda: dict.fromkeys(layout.COUNTS, 0)))
    return _metrics(registry, own)


def proxy_metrics() -> str:
    registry = CollectorRegistry()
    own = ProxyMetrics(registry, "")
    registry.register(TrafficCollector(_NoTraffic()))
    registry.register(CertificateCollector(lambda: {"": 0.0}))
    ProcessCollector(registry=registry)
    return _metrics(registry, own)


def _metrics(registry: CollectorRegistry, declared: object) -> str:
    labels = {
        family.name: ", ".join(f"`{label}`" for label in each._labelnames)
        for each in vars(declared).values()
        if isinstance(each, MetricWrapperBase)
        for family in each.describe()
    }
    rows = [
        (f"`{_exposed(family)}`", family.type, _labels(family, labels), family.documentation)
        for family in registry.collect()
    ]
    return _table(("metric", "type", "labels", "meaning"), rows)


def _exposed(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric, declared: dict[str, str]) -> str:
    if family.name.startswith("istio_tcp_") and family.type == "counter":
        return TRAFFIC
    if family.name in declared:
        return declared[family.name]
    found = {label: None for sample in family.samples for label in sample.labels if label != "le"}
    return ", ".join(f"`{label}`" for label in found)


def traffic_labels() -> str:
    """The engine's labels, in its order."""
    stated = _between(ENGINE_METRICS, "LABEL_NAMES: [&str; ", "];")
    return ", ".join(f"`{name}`" for name in re.findall(r'"(\w+)"', stated)) + "."


def redirection_events() -> str:
    """The BPF programs' counters, with the words of their enum."""
    stated = _between(MESH, "enum count {", "COUNTS,")
    meanings = {name.lower(): text for name, text in re.findall(r"(\w+),\s+/\* (.*?) \*/", stated)}
    return _table(("event", "meaning"), [(f"`{name}`", meanings[name]) for name in layout.COUNTS])


def _between(path: Path, start: str, end: str) -> str:
    return path.read_text().partition(start)[2].partition(end)[0]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TABLES: dict[str, Callable[[], str]] = {
    "settings of the node agent": lambda: settings(NodeSettings),
    "settings of the node proxy": lambda: settings(ProxySettings),
    "settings of the controller": lambda: settings(ControllerSettings),
    "metrics of the node agent": node_metrics,
    "metrics of the node proxy": proxy_metrics,
    "metrics of the controller": controller_metrics,
    "labels of traffic": traffic_labels,
    "events of redirection": redirection_events,
}


def written(text: str) -> str:
    """The document with its tables as they have to be. ValueError without the place of one."""
    for name, table in TABLES.items():
        start, end = f"<!-- {name}: from the code -->\n", f"<!-- end of {name} -->\n"
        head, found, rest = text.partition(start)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{DOCUMENT}: no place for {name}")
        text = f"{head}{start}\n{table()}\n\n{end}{tail}"
    return text


def messages() -> str:
    """All that `weft analyze` says: a table, a section of each message, and what is left out of istioctl's."""
    rows = [
        (f"[{each.code}](#{each.code.lower()}-{each.name.lower()})", str(each.level), each.name)
        for each in MESSAGES.values()
    ]
    sections = "\n\n".join(
        f"### {each.code} {each.name}\n\n{each.level}: {each.text.replace('!r}', '}')}\n\n{each.explanation.strip()}"
        for each in MESSAGES.values()
    )
    left_out = _table(("code", "name", "why"), [(each.code, each.name, each.reason) for each in LEFT_OUT.values()])
    table = _table(("code", "level", "name"), rows)
    return f"{_MESSAGES_HEAD}\n{table}\n\n## The messages\n\n{sections}\n\n{_LEFT_OUT_HEAD}\n{left_out}\n"


_MESSAGES_HEAD = """# Messages of `weft analyze`

`weft analyze [PATH…]` looks at objects together: those of files and folders, of a state directory, of a live cluster
(`--use-kube`). What is wrong with one object alone it says too, as `weft validate` does. A code that begins with IST
means what it means to istioctl; WEFT codes are what ambient meshes add. `weft analyze --explain CODE` prints a section
of this page. Words in braces stand for what was found.

To leave out what you know of: `--suppress "CODE=KIND NAME.NAMESPACE"`, with `*` for any, or on the object itself the
annotation `galley.istio.io/analyze-suppress: CODE,CODE`, with `*` for all.

This page is written from the tables in agent/analysis/ by `scripts/document.py`.
"""

_LEFT_OUT_HEAD = """## Messages of istioctl that are left out
"""


def main() -> None:
    """Exit status 1 when --check finds a table that is not what the code says."""
    wanted = {DOCUMENT: written(DOCUMENT.read_text()), MESSAGES_DOCUMENT: messages()}
    for path, text in wanted.items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.relative_to(ROOT)}: it is not what the code says; run `make gen`")


if __name__ == "__main__":
    main()
