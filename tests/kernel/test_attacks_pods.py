"""Pods with more rights than they should have, and somebody on the pod network: what each can do, and what not."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator

import pytest

from agent.lab import commands, namespaces
from agent.lab.addresses import node_plans
from agent.lab.capture import recorded
from agent.lab.session import until
from agent.node import cgroups
from agent.wire import DATAPLANE_MODE_LABEL, HBONE_PORT, METRICS_PORT
from tests.support.attacker import ATTACKER, bystander, pod_netns, web
from tests.support.hbone import Tunnel
from tests.support.mesh import Mesh
from tests.support.rules import enforced

ROGUE = "rogue/rogue"
KUBELET = str(node_plans(2)[1].gateway.v4)  # from where node 2 calls its pods
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ONLY_BACKEND = json.dumps(
    {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "only-backend", "namespace": "shop"},
        "spec": {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/backend"]}}]}]},
    }
)
# A SYN with data, made by hand: python SYN SOURCE DESTINATION PORT TEXT
SYN = """
import socket, struct, sys
source, destination, port, text = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()
def checksum(data):
    data += b"\\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
ends = socket.inet_aton(source) + socket.inet_aton(destination)
def segment(total): return struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 2, 65535, total, 0) + text
total = checksum(ends + struct.pack("!BBH", 0, 6, len(segment(0))) + segment(0))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for _ in range(3): raw.sendto(segment(total), (destination, 0))
"""


@pytest.fixture(scope="module")
def rogue(mesh: Mesh) -> Iterator[str]:
    """An enrolled pod of a namespace of its own, beside the shop's servers; its address."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rogue", "namespace": "rogue", "labels": {DATAPLANE_MODE_LABEL: "ambient"}},
        "spec": {
            "nodeName": "node-2",
            "containers": [
                {
                    "name": "server",
                    "command": ["python3", "-m", "http.server", "8080", "--directory", "/tmp", "--bind", "::"],
                    "readinessProbe": {"tcpSocket": {"port": 8080}},
                }
            ],
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rogue"}}
    mesh.write("rogue.yaml", f"{json.dumps(namespace)}\n---\n{json.dumps(pod)}\n")
    try:
        until("it is enrolled", lambda: [each for each in mesh.pods("rogue") if each["ready"] and each["enrolled"]])
        yield str(mesh.pod(ROGUE)["addresses"][0])
    finally:
        (mesh.manifests / "rogue.yaml").unlink()
        mesh.known.pop(ROGUE, None)
        until("it is gone", lambda: not mesh.pods("rogue"))


def with_rights(mesh: Mesh, pod: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run in a pod, in its cgroup, with CAP_NET_ADMIN and CAP_NET_RAW and no other right."""
    pid = mesh.pod(pod)["pid"]
    line = commands.in_pod(pid, cgroups.cgroup_of(pid, cgroups.find_mount()), command)
    rights = "--bounding-set=-all,+net_admin,+net_raw"
    line = [rights if word.startswith("--bounding-set") else word for word in line]
    return subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)


def node_command(mesh: Mesh, *command: str) -> None:
    inside = f"--net=/run/netns/{mesh.lab.netns('node-2')}"
    subprocess.run(["nsenter", inside, *command], check=True, timeout=10, capture_output=True)


def test_a_pod_with_net_raw_sends_its_own_packets_in_the_clear_and_nobody_takes_them_for_more(mesh: Mesh) -> None:
    own = mesh.pod("shop/frontend")["addresses"][0]
    with recorded(mesh.lab.netns("node-1")) as wire:
        done = mesh.lab.run("shop/frontend", "/usr/bin/python3", "-c", SYN, own, web(mesh), "8080", "smuggled")
        assert done.returncode == 0, done.stderr
        assert mesh.curl("http://web.shop/").returncode == 0
    assert wire.carries("smuggled")  # not covered: raw packets pass the connect hooks by
    assert not wire.carries("catalogue")
    assert "smuggled" not in mesh.lab.log("node-2-proxy")


def test_rights_over_its_own_network_do_not_let_a_pod_load_programs(mesh: Mesh, rogue: str) -> None:
    done = with_rights(mesh, ROGUE, "bpftool", "prog", "show")
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr


def test_a_pod_with_net_admin_cannot_take_the_proxys_ports_or_leave_the_mesh_by_a_mark(mesh: Mesh, rogue: str) -> None:
    call = (
        "import socket, sys\n"
        "s = socket.socket()\n"
        "try: s.bind(('', 15008))\n"
        "except PermissionError: print('refused')\n"
        "c = socket.socket(); c.settimeout(10)\n"
        "c.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x539)\n"
        "c.connect((sys.argv[1], 8080)); c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(c.recv(12).decode())\n"
    )
    with recorded(pod_netns(mesh, ROGUE)) as wire:
        done = with_rights(mesh, ROGUE, "/usr/bin/python3", "-c", call, web(mesh))
    assert done.stdout == "refused\nHTTP/1.1 200\n", done.stderr
    assert HBONE_PORT in wire.ports()
    assert not wire.carries("catalogue")


@contextlib.contextmanager
def has_address(mesh: Mesh, pod: str, address: str) -> Iterator[None]:
    """The pod has given its own device somebody's address, and the pod network believes it."""
    macs = json.loads(
        subprocess.run(
            ["ip", "-n", pod_netns(mesh, pod), "-j", "link", "show", "eth0"],
            check=True,
            capture_output=True,
            timeout=10,
        ).stdout
    )
    assert with_rights(mesh, pod, "ip", "address", "add", f"{address}/32", "dev", "eth0").returncode == 0
    node_command(mesh, "ip", "neigh", "replace", address, "lladdr", macs[0]["address"], "dev", "pods")
    try:
        yield
    finally:
        with_rights(mesh, pod, "ip", "address", "delete", f"{address}/32", "dev", "eth0")
        node_command(mesh, "ip", "neigh", "delete", address, "dev", "pods")


def test_whoever_takes_a_pods_address_on_the_network_gets_none_of_its_connections(mesh: Mesh, rogue: str) -> None:
    victim = mesh.pod("shop/redis")["addresses"][0]
    listener = namespaces.inside(
        pod_netns(mesh, ROGUE), lambda: socket.create_server(("0.0.0.0", 6379), reuse_port=True)
    )
    with listener, has_address(mesh, ROGUE, victim):
        listener.settimeout(1)
        ping = f'exec 3<>/dev/tcp/{victim}/6379 && echo PING >&3 && read -r -t 2 -u 3 line && echo "$line"'
        for client in ("shop/frontend", "outside/client"):
            assert mesh.lab.run(client, "timeout", "3", "bash", "-c", ping).returncode != 0
        with pytest.raises(TimeoutError):
            while True:
                connection, caller = listener.accept()
                connection.close()
                assert caller[0] == KUBELET, "the node itself goes by the address, for probes"
        assert bystander(mesh) < 3
    until("the victim is reached again", lambda: "PONG" in mesh.lab.run("shop/frontend", "bash", "-c", ping).stdout)


def test_a_pod_without_its_rules_is_not_reached_and_still_in_the_mesh(mesh: Mesh, rogue: str) -> None:
    url = f"http://{rogue}:8080/"
    assert mesh.curl(url).returncode == 0
    for family in ("-4", "-6"):
        assert with_rights(mesh, ROGUE, "ip", family, "route", "flush", "table", "100").returncode == 0
        assert with_rights(mesh, ROGUE, "ip", family, "rule", "delete", "priority", "100").returncode == 0
    with recorded(pod_netns(mesh, ROGUE)) as wire:
        assert mesh.curl(url, "--max-time", "2").returncode != 0
        assert mesh.curl("http://web.shop/", pod=ROGUE).returncode == 0
    assert not wire.carries("GET /")
    assert not wire.carries("catalogue")
    assert bystander(mesh) < 3


def test_a_spoofed_source_address_gets_no_answer_unless_the_attacker_is_on_the_way(mesh: Mesh) -> None:
    victim, netns = mesh.pod("shop/redis")["addresses"][0], pod_netns(mesh, "outside/client")
    target = (web(mesh), 8080)
    address = ["ip", "-n", netns, "address"]
    subprocess.run([*address, "add", f"{victim}/32", "dev", "eth0"], check=True, timeout=10)
    try:
        with pytest.raises(TimeoutError):
            namespaces.inside(
                netns, lambda: socket.create_connection(target, timeout=1.5, source_address=(victim, 0)).close()
            )
    finally:
        subprocess.run([*address, "delete", f"{victim}/32", "dev", "eth0"], check=True, timeout=10)


@contextlib.contextmanager
def on_the_way(mesh: Mesh, victim: str) -> Iterator[None]:
    """Node 2, through which all its pods' packets go, answers for a pod's address itself."""
    node_command(mesh, "ip", "address", "add", f"{victim}/32", "dev", "lo")
    try:
        yield
    finally:
        node_command(mesh, "ip", "address", "delete", f"{victim}/32", "dev", "lo")


def spoofed(mesh: Mesh, victim: str, port: int) -> socket.socket:
    target = (web(mesh), port)
    return namespaces.inside(
        mesh.lab.netns("node-2"), lambda: socket.create_connection(target, timeout=5, source_address=(victim, 0))
    )


def test_on_the_way_a_source_address_can_be_spoofed_but_never_an_identity(mesh: Mesh) -> None:
    victim = mesh.pod("shop/redis")["addresses"][0]
    with on_the_way(mesh, victim):
        # Not covered: over plain TCP an address is all that there is.
        with spoofed(mesh, victim, 8080) as plain:
            plain.sendall(REQUEST)
            assert f"catalogue for {victim}" in plain.makefile().read()
        with enforced(mesh, ONLY_BACKEND):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError), spoofed(mesh, victim, 8080) as plain:
                plain.sendall(REQUEST)
                assert plain.recv(1) == b""
            with Tunnel(spoofed(mesh, victim, HBONE_PORT), mesh.credentials(ATTACKER)) as tunnel:
                assert tunnel.connect(f"{web(mesh)}:8080")[1] == 401
    refused = f'source_principal="{ATTACKER}"'
    rows = [row for row in mesh.scrape("node-2", METRICS_PORT, "/metrics").splitlines() if refused in row]
    assert not [row for row in rows if 'source_workload="redis"' in row]
