"""The steps about seeing: what Prometheus scraped, and the page."""

from __future__ import annotations

import io
import urllib.request

from rich.console import Console
from rich.table import Table
from stage import Stage, hold

from agent.lab.prometheus import Prometheus, scraping
from agent.lab.session import until

_WHO = "source_workload, destination_workload, connection_security_policy"
_COLUMNS = ("node", "reporter", "from", "to", "carried by", "connections", "failed", "bytes received", "bytes sent")
_CARRIED = {"mutual_tls": "mutual TLS", "unknown": "plain TCP"}
_SUMS = {
    "connections": "istio_tcp_connections_opened_total",
    "failed": "istio_tcp_connections_failed_total",
    "bytes received": "istio_tcp_received_bytes_total",
    "bytes sent": "istio_tcp_sent_bytes_total",
}


class Sight:
    """What an operator sees. A step that does not hold raises UnavailableError."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def scraped(self) -> str:
        with scraping(self._stage.lab) as prometheus:
            until(
                "Prometheus has scraped every process of the mesh", lambda: set(prometheus.health().values()) == {"up"}
            )
            rows = _rows(prometheus)
        hold(any(row[2:4] == ("frontend", "web") and row[4] == "mutual TLS" for row in rows), "the calls are missing")
        table = Table(*_COLUMNS, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        text = io.StringIO()
        Console(file=text, width=160).print(table)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def page(self) -> str:
        with self._stage.dashboard() as address, urllib.request.urlopen(address, timeout=5) as answer:
            page = answer.read().decode()
        hold("<html" in page, f"{address} is no page")
        return f"it was at {address}\nwhile a lab runs, `weft dashboard` opens it in a browser"


def _rows(prometheus: Prometheus) -> list[tuple[str, ...]]:
    """A row for each pair of workloads, as each node's proxy reported it."""
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for column, metric in _SUMS.items():
        asked = f"sum by (instance, reporter, {_WHO}) ({metric})"
        for each in prometheus.ask("query", query=asked)["result"]:
            labels = each["metric"]
            names = ("instance", "reporter", *_WHO.split(", "))
            cells.setdefault(tuple(labels.get(name, "") for name in names), {})[column] = float(each["value"][1])
    return [
        (*key[:-1], _CARRIED.get(key[-1], key[-1]), *(f"{found.get(column, 0):.0f}" for column in _SUMS))
        for key, found in sorted(cells.items())
    ]
