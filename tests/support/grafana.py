"""The Grafana dashboard as a program sees it: its panels' queries, and the metrics and labels that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.mesh import ROOT

FILE = ROOT / "daemonset" / "dashboards" / "weft.json"
_KEYWORDS = {"sum", "min", "max", "by", "rate", "histogram_quantile", "time", "le"}
_SELECTOR = re.compile(r"\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
_NAME = re.compile(r"[a-zA-Z_]\w*")


@dataclass(frozen=True, slots=True)
class Target:
    """A panel's query, as it is after its variables have been filled in for all workloads."""

    panel: str
    expression: str

    @property
    def metrics(self) -> set[str]:
        bare = _GROUPING.sub(" ", _SELECTOR.sub(" ", re.sub(r"\[[^]]*\]", " ", self.expression)))
        return {name for name in _NAME.findall(bare) if name not in _KEYWORDS}

    @property
    def labels(self) -> set[str]:
        matched = {label for inner in _SELECTOR.findall(self.expression) for label in _LABEL.findall(inner)}
        grouped = {label for inner in _GROUPING.findall(self.expression) for label in _NAME.findall(inner)}
        return matched | grouped


def panels() -> list[dict[str, object]]:
    """All that is drawn."""
    found = json.loads(FILE.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def targets(window: str) -> Iterator[Target]:
    """Every query; `window` stands for Grafana's interval of rates."""
    for panel in panels():
        for target in panel["targets"]:  # type: ignore[attr-defined]
            expression = target["expr"].replace("$__rate_interval", window)
            yield Target(str(panel["title"]), re.sub(r"\$(namespace|workload)", ".*", expression))
