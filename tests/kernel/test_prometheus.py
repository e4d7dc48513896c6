"""Prometheus over the shop: every process is scraped, and the questions of Istio's dashboards have right answers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.lab.prometheus import Prometheus, scraping, targets
from agent.lab.session import until
from tests.support import grafana
from tests.support.mesh import ROOT, Mesh

WINDOW = "20s"
CONNECTIONS = 10
DENY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-plain, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules: [{from: [{source: {notPrincipals: ["*"]}}]}]
"""
SHOP = 'destination_workload_namespace="shop"'
# What Istio's workload and mesh dashboards ask about TCP, and for which workloads there must be an answer.
ISTIO = {
    # Workload, inbound: bytes from and to clients, with and without mutual TLS.
    "sum by (source_workload, source_workload_namespace) (irate(istio_tcp_received_bytes_total"
    '{reporter="destination", connection_security_policy="mutual_tls", destination_workload="web", SHOP}[WINDOW]))': [
        ("frontend", "shop")
    ],
    "sum by (source_workload, source_workload_namespace) (irate(istio_tcp_sent_bytes_total"
    '{reporter="destination", connection_security_policy="mutual_tls", destination_workload="web", SHOP}[WINDOW]))': [
        ("frontend", "shop")
    ],
    "sum by (source_workload, source_workload_namespace) (irate(istio_tcp_sent_bytes_total{"
    'reporter="destination", connection_security_policy!="mutual_tls", destination_workload="redis"}[WINDOW]))': [
        ("client", "outside")
    ],
    # Workload, outbound: the same at the client's proxy, by service.
    "sum by (destination_service) (irate(istio_tcp_sent_bytes_total"
    '{reporter="source", connection_security_policy="mutual_tls", source_workload="frontend"}[WINDOW]))': [
        ("web.shop.svc.cluster.local",)
    ],
    # Mesh: all TCP workloads.
    "sum by (destination_workload, destination_workload_namespace) (rate(istio_tcp_received_bytes_total"
    '{reporter=~"source|waypoint", SHOP}[WINDOW]))': [("web", "shop")],
    "sum by (destination_workload, destination_workload_namespace) (rate(istio_tcp_sent_bytes_total"
    '{reporter="destination", SHOP}[WINDOW]))': [("web", "shop"), ("redis", "shop")],
    # Service: connections, and refusals by their flag.
    'sum by (destination_service_name) (rate(istio_tcp_connections_opened_total{reporter="source", SHOP}[WINDOW]))': [
        ("web",)
    ],
    'sum by (destination_service_name) (rate(istio_tcp_connections_closed_total{reporter="source", SHOP}[WINDOW]))': [
        ("web",)
    ],
    'sum by (response_flags) (rate(istio_tcp_connections_failed_total{reporter="destination", SHOP}[WINDOW]))': [
        ("DENY",)
    ],
}
# In a mesh without faults these have no series, or no change in the window.
QUIET = {"weft_pending_pods", "pilot_total_xds_rejects_total"}


@pytest.fixture(scope="module")
def prometheus(mesh: Mesh) -> Iterator[Prometheus]:
    """Prometheus over a shop that is called all the time, and refuses one of its callers."""
    mesh.write("no-plain.yaml", DENY)
    try:
        with scraping(mesh.lab) as running:
            until("every target is up", lambda: set(running.health().values()) == {"up"})
            yield running
    finally:
        (mesh.manifests / "no-plain.yaml").unlink()
        until(
            "the client outside is let in", lambda: not mesh.curl("http://web.shop/", pod="outside/client").returncode
        )


def call(mesh: Mesh) -> None:
    """A connection of each kind: mutual TLS, plain, refused."""
    assert mesh.curl("http://web/").returncode == 0
    assert mesh.lab.run("outside/client", "redis-cli", "-h", "redis.shop", "ping").stdout == "PONG\n"
    until("the client outside is refused", lambda: mesh.curl("http://web.shop/", pod="outside/client").returncode)


def test_every_process_of_the_mesh_is_scraped(prometheus: Prometheus) -> None:
    wanted = {address for addresses in targets().values() for address in addresses}
    assert prometheus.health() == dict.fromkeys(wanted, "up")


@pytest.mark.parametrize(
    ("place", "port"), [("node-1", 15020), ("node-2", 15020), ("node-1", 15014), ("node-2", 15014), ("control", 15014)]
)
def test_what_a_process_exposes_is_as_prometheus_wants_it(mesh: Mesh, place: str, port: int) -> None:
    text = mesh.scrape(place, port, "/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=20)
    complaints = {line.split()[0] for line in (done.stdout + done.stderr).splitlines()}
    assert complaints <= {"workload_manager_active_proxy_count"}, done.stderr  # Istio's name, which has a suffix amiss


def test_totals_are_what_was_sent_and_what_the_proxies_say(mesh: Mesh, prometheus: Prometheus) -> None:
    opened = (
        'sum(istio_tcp_connections_opened_total{reporter="source", source_workload="frontend", '
        'destination_service_name="web", connection_security_policy="mutual_tls"})'
    )
    call(mesh)
    expected = counted(mesh, "node-1") + CONNECTIONS
    for _ in range(CONNECTIONS):
        assert mesh.curl("http://web/").returncode == 0
    until("they are scraped", lambda: prometheus.query(opened) == {(): expected})
    assert counted(mesh, "node-1") == expected


def counted(mesh: Mesh, node: str) -> float:
    """The frontend's connections to the web service, read without Prometheus."""
    text = mesh.scrape(node, 15020, "/metrics")
    wanted = {"reporter": "source", "source_workload": "frontend", "destination_service_name": "web"}
    wanted["connection_security_policy"] = "mutual_tls"
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "istio_tcp_connections_opened_total" and wanted.items() <= sample.labels.items()
    )


@pytest.mark.parametrize("expression", ISTIO)
def test_what_istio_s_dashboards_ask_has_an_answer(mesh: Mesh, prometheus: Prometheus, expression: str) -> None:
    query = expression.replace("SHOP", SHOP).replace("WINDOW", WINDOW)

    def is_answered() -> bool:
        call(mesh)
        found = prometheus.query(query)
        return all(found.get(labels, 0) > 0 for labels in ISTIO[expression])

    until(expression, is_answered, timeout=40)


def test_plain_and_mutual_tls_are_told_apart(mesh: Mesh, prometheus: Prometheus) -> None:
    expression = (
        "sum by (connection_security_policy, source_workload) "
        f'(istio_tcp_connections_opened_total{{reporter="destination", response_flags="-", {SHOP}, '
        'source_workload=~"frontend|client"})'
    )
    # The mesh may have rows of other tests, in which the frontend was outside.
    before = prometheus.query(expression)

    def grown() -> set[object]:
        return {which for which, opened in prometheus.query(expression).items() if opened > before.get(which, 0)}

    call(mesh)
    until("both are there", lambda: len(grown()) > 1)
    assert grown() == {("mutual_tls", "frontend"), ("unknown", "client")}


def test_every_metric_and_label_of_the_dashboard_is_exposed(mesh: Mesh, prometheus: Prometheus) -> None:
    call(mesh)
    documented = dict(re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", (ROOT / "docs/operating.md").read_text(), re.M))
    for target in grafana.targets(WINDOW):
        for metric in target.metrics:
            if metric in QUIET:
                known = set(re.findall(r"\w+", documented[metric]))
            else:
                until(f"{metric} is scraped", lambda metric=metric: labels_of(prometheus, metric))  # type: ignore[misc]
                known = labels_of(prometheus, metric)
            assert target.labels <= known | {"instance", "job"}, f"{target.panel}: {metric} has {sorted(known)}"


def labels_of(prometheus: Prometheus, metric: str) -> set[str]:
    series = prometheus.ask("series", **{"match[]": metric})
    return {label for each in series for label in each}


def test_every_query_of_the_dashboard_is_answered(mesh: Mesh, prometheus: Prometheus) -> None:
    waiting = {target.expression: target for target in grafana.targets(WINDOW) if not target.metrics & QUIET}

    def all_answered() -> bool:
        call(mesh)
        for expression in [each for each in waiting if prometheus.query(each)]:
            del waiting[expression]
        return not waiting

    try:
        until("each has an answer", all_answered, timeout=60)
    finally:
        assert not waiting, [(target.panel, target.expression) for target in waiting.values()]
    for target in grafana.targets(WINDOW):
        prometheus.query(target.expression)  # raises for what cannot be parsed
