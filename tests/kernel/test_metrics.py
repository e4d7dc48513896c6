"""What the node proxies count, for each way that a connection can take: whole label sets, on both sides."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from agent.lab.session import until
from agent.model import Identity
from agent.wire import ADMIN_PORT, HBONE_PORT, METRICS_PORT
from tests.support.hbone import Tunnel
from tests.support.mesh import Mesh, credentials, load
from tests.support.metrics import Series, increases, read, series

NODES = ("node-1", "node-2")
ENDS = ("workload", "canonical_service", "canonical_revision", "workload_namespace", "principal", "app", "version")
SERVICE = ("service", "service_namespace", "service_name")
DENY_PLAIN = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-all, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules: [{}]
"""
EMPTY = """\
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {ports: [{port: 80}], selector: {app: nobody}}
"""

Labels = dict[str, str]


def end(side: str, workload: str = "unknown", namespace: str = "unknown", principal: str = "unknown") -> Labels:
    """An end's labels; a pod's canonical name is that of its workload, its revision is the default."""
    known = workload != "unknown"
    version = "latest" if known else "unknown"
    values = (workload, workload, version, namespace, principal, workload, version)
    labels = {f"{side}_{name}": value for name, value in zip(ENDS, values, strict=True)}
    return labels | {f"{side}_cluster": "Kubernetes" if known else "unknown"}


def service(name: str = "unknown") -> Labels:
    known = (f"{name}.shop.svc.cluster.local", "shop", name)
    values = ("unknown",) * 3 if name == "unknown" else known
    return {f"destination_{label}": value for label, value in zip(SERVICE, values, strict=True)}


def identity(account: str) -> str:
    return f"spiffe://cluster.local/ns/shop/sa/{account}"


NOBODY = end("destination") | service()
FRONTEND, SHOWN_FRONTEND = end("source", "frontend", "shop"), end("source", "frontend", "shop", identity("frontend"))
WEB, SHOWN_WEB = end("destination", "web", "shop"), end("destination", "web", "shop", identity("backend"))
CLIENT, AT_CLIENT = end("source", "client", "outside"), end("destination", "client", "outside")


@dataclass(frozen=True)
class Way:
    """What is done, and what each node's proxy then counts: its labels, and the flag at the end."""

    act: Callable[[Mesh], object]
    counted: dict[str, tuple[Labels, str]]
    manifest: str = ""


def hbone(flag: str = "-", of: str = "web") -> dict[str, tuple[Labels, str]]:
    """The same at both ends, but for who reports."""
    shared = SHOWN_FRONTEND | SHOWN_WEB | service(of) | {"connection_security_policy": "mutual_tls"}
    return {
        "node-1": (shared | {"reporter": "source"}, flag),
        "node-2": (shared | {"reporter": "destination"}, flag),
    }


def plain(node: str, source: Labels, destination: Labels, flag: str = "-") -> dict[str, tuple[Labels, str]]:
    reporter = "source" if node == "node-1" else "destination"
    labels = source | destination | {"connection_security_policy": "unknown", "reporter": reporter}
    return {node: (labels, flag)}


def get(url: str, pod: str = "shop/frontend") -> Callable[[Mesh], object]:
    return lambda mesh: mesh.curl(url, "-4", "--max-time", "3", pod=pod)


def get_at(pod: str, port: int) -> Callable[[Mesh], object]:
    return lambda mesh: mesh.curl(f"http://{mesh.pod(pod)['addresses'][0]}:{port}/", "--max-time", "3")


def show_a_foreign_certificate(mesh: Mesh) -> None:
    caller = Identity("outside", "default")
    foreign = credentials(mesh.manifests / "foreign-ca", caller, roots=mesh.credentials(caller).roots)
    address = mesh.pod("shop/web")["addresses"][0]
    with contextlib.suppress(OSError), Tunnel(mesh.connect("outside/client", address, HBONE_PORT), foreign) as tunnel:
        tunnel.connect(f"{address}:8080")


def call_through_a_block(mesh: Mesh) -> None:
    """A firewall in redis's namespace drops what comes for the proxy; web has no tunnel to it yet."""
    netns = f"weft-{mesh.lab.name}-pod-{mesh.pod('shop/redis')['uid'][:8]}"
    hook = "type filter hook input priority 0;"
    rules = f"table inet block {{\nchain in {{\n{hook}\ntcp dport {HBONE_PORT} drop\n}}\n}}"
    nft = ["ip", "netns", "exec", netns, "nft"]
    subprocess.run([*nft, rules], check=True, timeout=10)
    try:
        mesh.curl(f"http://{mesh.pod('shop/redis')['addresses'][0]}:6379/", "--max-time", "15", pod="shop/web")
    finally:
        subprocess.run([*nft, "delete table inet block"], check=True, timeout=10)


def blocked() -> dict[str, tuple[Labels, str]]:
    ends = end("source", "web", "shop", identity("backend")) | end("destination", "redis", "shop", identity("backend"))
    shared = ends | service() | {"connection_security_policy": "mutual_tls", "reporter": "source"}
    return {"node-2": (shared, "NETWORK_POLICY")}


WAYS = {
    "hbone": Way(get("http://web.shop/"), hbone()),
    "plaintext in": Way(
        get("http://web.shop/", "outside/client"), plain("node-2", CLIENT, WEB | service("web"))
    ),
    "plaintext out, to a pod that is not enrolled, which refuses": Way(
        get_at("outside/client", 9), plain("node-1", FRONTEND, AT_CLIENT | service(), "CONNECT")
    ),
    "plaintext out, to nobody known": Way(
        get("http://192.0.2.1:9/"), plain("node-1", FRONTEND, NOBODY, "CONNECT")
    ),
    "no endpoint": Way(
        get("http://nobody.shop/"), plain("node-1", FRONTEND, end("destination") | service("nobody"), "CONNECT"), EMPTY
    ),
    "the app refuses": Way(get_at("shop/web", 9), hbone("CONNECT", of="unknown")),
    "policy refuses a known client": Way(get("http://web.shop/"), hbone("DENY"), DENY_PLAIN),
    "policy refuses plaintext": Way(
        get("http://web.shop/", "outside/client"), plain("node-2", CLIENT, WEB | service("web"), "DENY"), DENY_PLAIN
    ),
    "something blocks the proxy's port": Way(call_through_a_block, blocked()),
    "TLS fails": Way(show_a_foreign_certificate, plain("node-2", CLIENT, WEB | service(), "TLS_FAILURE")),
}  # fmt: skip


def samples(mesh: Mesh, node: str) -> dict[Series, float]:
    return read(mesh.scrape(node, METRICS_PORT, "/metrics"))


def expected(labels: Labels, flag: str) -> dict[Series, float]:
    """One connection: opened without a flag, closed with it, and failed if it has one."""
    fixed = labels | {"request_protocol": "tcp"}
    opened, ended = fixed | {"response_flags": "-"}, fixed | {"response_flags": flag}
    rows = {
        series("istio_tcp_connections_opened_total", opened): 1.0,
        series("istio_tcp_connections_closed_total", ended): 1.0,
    }
    return rows if flag == "-" else rows | {series("istio_tcp_connections_failed_total", ended): 1.0}


@contextlib.contextmanager
def in_force(mesh: Mesh, manifest: str) -> Iterator[None]:
    if not manifest:
        yield
        return
    mesh.write("way.yaml", manifest)
    name = "deny-all" if manifest == DENY_PLAIN else "nobody"
    try:
        for node in NODES:
            until(f"{node} knows {name}", lambda node=node: name in mesh.scrape(node, ADMIN_PORT, "/config_dump"))
        yield
    finally:
        (mesh.manifests / "way.yaml").unlink()
        for node in NODES:
            forgotten = lambda node=node: f'"{name}"' not in mesh.scrape(node, ADMIN_PORT, "/config_dump")  # noqa: E731
            until(f"{node} has forgotten {name}", forgotten)


def counted(mesh: Mesh, node: str, before: dict[Series, float], rows: int) -> dict[Series, float]:
    """What has changed, once it is in so many rows at least."""

    def changed() -> dict[Series, float]:
        return increases(before, samples(mesh, node), "istio_tcp_connections")

    until(f"{node} has counted {rows} rows", lambda: len(changed()) >= rows)
    return changed()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_connection_is_counted_once_with_all_its_labels(mesh: Mesh, way: Way) -> None:
    with in_force(mesh, way.manifest):
        before = {node: samples(mesh, node) for node in NODES}
        way.act(mesh)
        for node in NODES:
            wanted = expected(*way.counted[node]) if node in way.counted else {}
            assert counted(mesh, node, before[node], rows=len(wanted)) == wanted


def test_both_sides_count_the_same_bytes(mesh: Mesh) -> None:
    before = {node: samples(mesh, node) for node in NODES}
    sizes = "%{size_request} %{size_header} %{size_download}"
    request, header, body = mesh.curl("http://web.shop/", "-4", "-o", "/dev/null", "-w", sizes).stdout.split()
    wanted = {"received": float(request), "sent": float(header) + float(body)}

    def moved(node: str) -> dict[str, float]:
        found = increases(before[node], samples(mesh, node), "istio_tcp_")
        return {name.split("_")[2]: value for (name, _), value in found.items() if "bytes" in name}

    for node in NODES:
        until(f"{node} has counted {wanted}", lambda node=node: moved(node) == wanted)


def open_now(mesh: Mesh, node: str) -> Counter[tuple[str, str]]:
    """(reporter, destination's workload) of the gauge; zeros are left out."""
    found: Counter[tuple[str, str]] = Counter()
    for (name, labels), value in samples(mesh, node).items():
        if name == "weft_tcp_connections_open":
            found[dict(labels)["reporter"], dict(labels)["destination_workload"]] += int(value)
    return +found


def listed(mesh: Mesh, node: str) -> Counter[tuple[str, str]]:
    rows = json.loads(mesh.scrape(node, ADMIN_PORT, "/connections"))
    reporters = {"outbound": "source", "inbound": "destination"}
    return Counter((reporters[row["direction"]], row["destination"]["workload"] or "unknown") for row in rows)


def test_the_gauge_is_what_is_listed_after_a_storm_and_a_crash_of_the_clients(mesh: Mesh) -> None:
    address = mesh.service("shop/greeter")[0]
    hold = (
        "import socket, sys\n"
        f"held = [socket.create_connection(('{address}', 25)) for _ in range(12)]\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with contextlib.ExitStack() as stack:
        for pod in ("shop/frontend", "outside/client"):
            client = stack.enter_context(mesh.lab.started(pod, "python3", "-c", hold))
            assert client.stdout is not None
            assert client.stdout.readline() == "held\n"
        with load(mesh) as storm:
            until("the storm is over node 1", lambda: open_now(mesh, "node-1")[("source", "web")] > 0, pause=0)
        assert storm.failures == ()
        wanted = {
            "node-1": Counter({("source", "greeter"): 12}),
            "node-2": Counter({("destination", "greeter"): 24}),
        }
        for node in NODES:
            until(f"{node} is quiet", lambda node=node: listed(mesh, node) == wanted[node])
            assert open_now(mesh, node) == wanted[node]
    for node in NODES:
        until(f"nothing is open on {node}", lambda node=node: not listed(mesh, node))
        assert open_now(mesh, node) == Counter()


def durations(mesh: Mesh, node: str) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for (name, labels), value in samples(mesh, node).items():
        if name.startswith("weft_") and name.endswith("_duration_seconds_count"):
            found[name.removesuffix("_duration_seconds_count"), *sorted(dict(labels).values())] = int(value)
    return found


def test_connects_are_timed_by_route_and_outcome(mesh: Mesh) -> None:
    ways = (get("http://web.shop/"), get_at("shop/web", 9), get_at("outside/client", 9))
    before = durations(mesh, "node-1")
    for act in ways:
        act(mesh)
    after = durations(mesh, "node-1")
    connects = {key[1:]: count - before[key] for key, count in after.items() if key[0] == "weft_connect"}
    assert {key: count for key, count in connects.items() if count} == {
        ("hbone", "ok"): 1,
        ("failed", "hbone"): 1,
        ("direct", "failed"): 1,
    }


def test_handshakes_are_timed_by_who_reports_and_outcome(mesh: Mesh) -> None:
    before = durations(mesh, "node-2")
    show_a_foreign_certificate(mesh)
    address = mesh.pod("shop/web")["addresses"][0]
    shown = mesh.credentials(Identity("outside", "default"))
    with Tunnel(mesh.connect("outside/client", address, HBONE_PORT), shown) as tunnel:
        assert tunnel.connect(f"{address}:8080")[1] == 200
    increased = durations(mesh, "node-2") - before
    name = "weft_tls_handshake"
    assert increased == Counter({(name, "destination", "failed"): 1, (name, "destination", "ok"): 1})


def test_the_end_of_each_certificate_is_exposed(mesh: Mesh) -> None:
    shown = json.loads(mesh.scrape("node-1", ADMIN_PORT, "/config_dump"))["certificates"]
    expiries = {
        each["identity"]: datetime.fromisoformat(each["certChain"][0]["expirationTime"]).timestamp() for each in shown
    }
    exposed = {
        dict(labels)["identity"]: value
        for (name, labels), value in samples(mesh, "node-1").items()
        if name == "weft_certificate_expiration_timestamp_seconds"
    }
    assert exposed == expiries
    assert identity("frontend") in exposed
