"""The access log of a running proxy: which lines there are, what they say, and how it is changed."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest

from agent.lab import namespaces
from agent.lab.session import until
from agent.wire import ADMIN_PORT, METRICS_PORT
from tests.support.mesh import Mesh
from tests.support.metrics import read


def set_logging(mesh: Mesh, query: str) -> tuple[int, str]:
    """Status and text of the running proxy's answer."""

    def ask() -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{ADMIN_PORT}/logging{query}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    return namespaces.inside(mesh.lab.netns("node-1"), ask)


@pytest.fixture
def logging_as_before(mesh: Mesh) -> Iterator[None]:
    yield
    set_logging(mesh, "?reset")


@pytest.mark.usefixtures("logging_as_before")
def test_the_access_log_is_changed_while_the_proxy_runs(mesh: Mesh) -> None:
    closed_port = f"http://{mesh.pod('outside/client')['addresses'][0]}:9/"

    def lines() -> Counter[str]:
        text = mesh.lab.log("node-1-proxy").splitlines()
        return Counter(line.split("\t")[1] for line in text if "\taccess\t" in line)

    start = lines()
    for query, wanted in (
        ("?access=off", {}),
        ("?access=error", {"error": 1}),
        ("?access=info", {"error": 2, "info": 1}),
    ):
        assert set_logging(mesh, query)[0] == 200
        closed = connections_closed(mesh)
        assert mesh.curl("http://web.shop/").returncode == 0
        assert mesh.curl(closed_port).returncode != 0
        until("both have ended", lambda closed=closed: connections_closed(mesh) == closed + 2)
        until(f"{query}: {wanted}", lambda wanted=wanted: lines() - start == Counter(wanted))


def connections_closed(mesh: Mesh) -> float:
    found = read(mesh.scrape("node-1", METRICS_PORT, "/metrics")).items()
    return sum(value for (name, _), value in found if name == "istio_tcp_connections_closed_total")


@pytest.mark.usefixtures("logging_as_before")
def test_levels_of_the_running_proxy_are_shown_and_garbage_is_refused(mesh: Mesh) -> None:
    level = "current log level is info,agent.proxy:debug,access:error\n"
    assert set_logging(mesh, "?level=agent.proxy:debug,access:error") == (200, level)
    for garbage, accepted in (
        ("?access=all", "off, error, info"),
        ("?level=loud", "DEBUG, INFO, WARNING, ERROR"),
        ("?levle=info", "access, level, reset"),
    ):
        status, text = set_logging(mesh, garbage)
        assert (status, accepted in text) == (400, True), text
    assert set_logging(mesh, "") == (200, level)


def test_a_line_has_both_identities_bytes_duration_and_direction(mesh: Mesh) -> None:
    mesh.curl("http://web.shop/?a-line", "-4")
    for node, direction in (("node-1", "outbound"), ("node-2", "inbound")):

        def last(node: str = node, direction: str = direction) -> list[str]:
            found = mesh.lab.log(f"{node}-proxy").splitlines()
            return [line for line in found if f'direction="{direction}"' in line and 'src.workload="frontend"' in line]

        until(f"{node} has a line", last)
        fields = dict(pair.split("=", 1) for pair in last()[-1].split("\t")[4].split(" "))
        assert list(fields) == [
            "src.addr", "src.workload", "src.namespace", "src.identity", "src.cluster",
            "dst.addr", "dst.hbone_addr", "dst.service", "dst.workload", "dst.namespace", "dst.identity", "dst.cluster",
            "direction", "bytes_sent", "bytes_recv", "duration",
        ]  # fmt: skip
        assert fields["src.identity"] == '"spiffe://cluster.local/ns/shop/sa/frontend"'
        assert fields["dst.identity"] == '"spiffe://cluster.local/ns/shop/sa/backend"'
