"""Pods that stand in the mesh's way, that stay out, that come and go, and that die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from agent.lab.capture import recorded
from agent.lab.session import until
from agent.wire import (
    DATAPLANE_MODE_LABEL,
    DEBUG_PORT,
    HBONE_PORT,
    INBOUND_PORT,
    MARK_LAST_HOP,
    MARK_UPSTREAM,
    OUTBOUND_PORT,
    REDIRECTION_ANNOTATION,
)
from tests.support.mesh import SHOP, Mesh, load

SERVER = """\
import http.server, os, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((socket.gethostname() + "\\n").encode())
    def log_message(self, *args): pass
Server(("::", int(sys.argv[1])), Handler).serve_forever()
"""


def a_container(port: int, *command: str) -> dict[str, object]:
    return {
        "name": "server",
        "command": [*command, "python3", "-c", SERVER.replace("$", "$$"), str(port)],
        "readinessProbe": {"tcpSocket": {"port": port}},
    }


def a_pod(name: str, namespace: str, mode: str | None, port: int, node: str = "node-1") -> str:
    metadata = {"name": name, "namespace": namespace, "labels": {DATAPLANE_MODE_LABEL: mode} if mode else {}}
    spec = {"nodeName": node, "containers": [a_container(port)]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def status(mesh: Mesh, name: str) -> dict[str, object]:
    return next((pod for pod in mesh.lab.status()["pods"] if pod["name"] == name), {})


@contextlib.contextmanager
def applied(mesh: Mesh, file: str, text: str, *pods: str) -> Iterator[None]:
    """A manifest whose pods are ready while the block runs, and gone after it."""
    mesh.write(file, text)
    try:
        for pod in pods:
            until(f"{pod} is ready", lambda pod=pod: status(mesh, pod).get("ready"))
        yield
    finally:
        (mesh.manifests / file).unlink()
        for pod in pods:
            mesh.known.pop(pod, None)
            until(f"{pod} is gone", lambda pod=pod: not status(mesh, pod))


def annotation(mesh: Mesh, pod: str) -> str | None:
    namespace, _, name = pod.partition("/")
    stored = json.loads((mesh.lab.folder / "state" / "pods" / f"{namespace}_{name}.json").read_text())
    return (stored["metadata"].get("annotations") or {}).get(REDIRECTION_ANNOTATION)


def has_pending(mesh: Mesh) -> bool:
    """Whether node 1's agent counts a pod that is not where it belongs."""
    rows = [row for row in mesh.scrape("node-1", DEBUG_PORT, "/metrics").splitlines() if "weft_pending_pods{" in row]
    return any(float(row.rsplit(" ", 1)[1]) > 0 for row in rows)


@pytest.mark.parametrize("is_shared", [False, True], ids=["alone", "with SO_REUSEPORT"])
@pytest.mark.parametrize("port", [OUTBOUND_PORT, INBOUND_PORT])
def test_a_pod_that_listens_on_a_port_of_the_proxy_is_pending_until_it_no_longer_does(
    mesh: Mesh, port: int, is_shared: bool
) -> None:
    server = SERVER.replace("Server((", f"Server.allow_reuse_port = {is_shared}\nServer((")
    with applied(mesh, "squatter.json", a_pod("squatter", "shop", "none", 8080), "shop/squatter"):
        own = f"http://{mesh.pod('shop/squatter')['addresses'][0]}"
        with mesh.lab.started("shop/squatter", "python3", "-c", server, str(port)) as squatter:
            until("it listens", lambda: mesh.curl(f"{own}:{port}/", pod="outside/client").stdout == "squatter\n")
            mesh.write("squatter.json", a_pod("squatter", "shop", None, 8080))
            until("it is pending", lambda: annotation(mesh, "shop/squatter") == "pending")
            (line,) = (
                row for row in mesh.lab.log("node-1-node").splitlines() if mesh.pod("shop/squatter")["uid"] in row
            )
            assert f"port {port}: something else in the pod listens there" in line
            assert has_pending(mesh)
            assert mesh.curl(f"{own}:{port}/", pod="outside/client").stdout == "squatter\n"
            assert mesh.curl(f"{own}:8080/").stdout == "squatter\n"
            assert mesh.curl("http://web.shop/", pod="shop/squatter").stdout.startswith("catalogue for ")
            squatter.kill()
        until("it is enrolled", lambda: annotation(mesh, "shop/squatter") == "enabled")
        assert mesh.curl(f"{own}:8080/").stdout == "squatter\n"
    until("nothing is pending", lambda: not has_pending(mesh))


@pytest.mark.parametrize("port", [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT])
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_an_enrolled_pod_cannot_bind_a_port_of_the_proxy(mesh: Mesh, family: str, port: int) -> None:
    attempt = (
        "import socket, sys\n"
        "s = socket.socket(getattr(socket, sys.argv[1]))\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "try: s.bind(('', int(sys.argv[2])))\n"
        "except PermissionError: print('refused')\n"
    )
    assert mesh.lab.run("shop/frontend", "python3", "-c", attempt, family, str(port)).stdout == "refused\n"


@pytest.mark.parametrize("mark", [MARK_UPSTREAM, MARK_LAST_HOP])
@pytest.mark.parametrize("family", [0, 1])
def test_the_proxys_mark_does_not_take_a_pod_out_of_the_mesh(mesh: Mesh, mark: int, family: int) -> None:
    talk = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET); s.settimeout(10)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(sys.argv[3]))\n"
        "s.connect((sys.argv[1], int(sys.argv[2])))\n"
        "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.makefile().read().splitlines()[-1])\n"
    )
    own = mesh.pod("shop/frontend")["addresses"][family]
    for address, port in ((mesh.service("shop/web")[family], 80), (mesh.pod("shop/web")["addresses"][family], 8080)):
        with recorded(mesh.lab.netns("node-1")) as wire:
            done = mesh.lab.run("shop/frontend", "python3", "-c", talk, address, str(port), str(mark))
        assert done.stdout == f"catalogue for {own}\n", done.stderr
        assert not wire.carries("catalogue")
        assert HBONE_PORT in wire.ports()
        assert wire.ports() <= {HBONE_PORT, 15012}


def test_a_pods_label_beats_its_namespaces(mesh: Mesh) -> None:
    inside, outside = a_pod("insider", "outside", "ambient", 8080), a_pod("outsider", "shop", "none", 8080)
    both = ("outside/insider", "shop/outsider")
    with applied(mesh, "exceptions.yaml", f"{inside}\n---\n{outside}\n", *both):
        until("the one is enrolled", lambda: status(mesh, "outside/insider")["enrolled"])
        for pod in both:
            name, url = pod.partition("/")[2], f"http://{mesh.pod(pod)['addresses'][0]}:8080/"
            with recorded(mesh.lab.netns("node-1")) as wire:
                # From node 2, and from the other side of the label.
                assert mesh.curl(url, pod="shop/web").stdout == f"{name}\n"
            assert wire.carries(name) == (name == "outsider")
        assert annotation(mesh, "shop/outsider") is None


def a_deployment(version: str) -> str:
    """Two servers that go on for a while after they are told to end, as a server behind a load balancer should."""
    template = {
        "metadata": {"labels": {"app": "many"}},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {**a_container(8080, "env", "--ignore-signal=TERM"), "env": [{"name": "V", "value": version}]}
            ],
        },
    }
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    metadata = {"name": "many", "namespace": "shop"}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


MANY_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: many, namespace: shop}
spec:
  selector: {app: many}
  ports: [{port: 80, targetPort: 8080}]
"""


def replicas(mesh: Mesh) -> set[str]:
    """The deployment's pods that are ready and enrolled."""
    pods = mesh.lab.status()["pods"]
    return {p["name"] for p in pods if p["name"].startswith("shop/many-") and p["ready"] and p["enrolled"]}


def every_replica(mesh: Mesh) -> set[str]:
    return {pod["name"] for pod in mesh.lab.status()["pods"] if pod["name"].startswith("shop/many-")}


def test_a_deployment_is_balanced_and_rolls_over_without_a_failed_connection(mesh: Mesh) -> None:
    mesh.write("many-service.yaml", MANY_SERVICE)
    mesh.write("many.json", a_deployment("1"))
    try:
        until("both replicas are enrolled", lambda: len(replicas(mesh)) == 2)
        before = replicas(mesh)
        until("the service answers", lambda: mesh.curl("http://many.shop/").returncode == 0)
        loop = "for i in $(seq 40); do curl -sS --max-time 5 http://many.shop/ || echo failed; done"
        answered = Counter(mesh.lab.run("shop/frontend", "sh", "-c", loop).stdout.splitlines())
        assert {f"shop/{name}" for name in answered} == before
        with load(mesh, rate=100, service="shop/many") as seen:
            mesh.write("many.json", a_deployment("2"))
            until("two others are there", lambda: len(found := every_replica(mesh)) == 2 and not found & before)
            until("the mesh has them", lambda: len(replicas(mesh)) == 2)
        assert seen.failures == ()
        assert seen.made > 100
    finally:
        (mesh.manifests / "many.json").unlink(missing_ok=True)
        (mesh.manifests / "many-service.yaml").unlink()
        until("the deployment is gone", lambda: not every_replica(mesh))


def test_a_pod_is_deleted_and_made_again_and_the_others_do_not_notice(mesh: Mesh) -> None:
    before = mesh.pod("shop/greeter")["uid"]
    with load(mesh) as seen:
        (mesh.manifests / "greeter.yaml").unlink()
        until("the pod terminates", lambda: status(mesh, "shop/greeter").get("phase") in ("Terminating", None))
        mesh.known.pop("shop/greeter")
        mesh.write("greeter.yaml", (SHOP / "greeter.yaml").read_text())
        until("another one is there", lambda: status(mesh, "shop/greeter").get("uid", before) != before)
        until("it is enrolled", lambda: status(mesh, "shop/greeter")["enrolled"])
        until("it is ready", lambda: status(mesh, "shop/greeter")["ready"])
    assert seen.failures == ()
    assert mesh.greeting().startswith("220 welcome")


def test_a_pod_whose_file_comes_back_while_it_terminates_is_made_again(mesh: Mesh) -> None:
    spec = {
        "nodeName": "node-1",
        "terminationGracePeriodSeconds": 10,
        "containers": [a_container(8080, "env", "--ignore-signal=TERM")],
    }
    metadata = {"name": "slow", "namespace": "shop"}
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    with applied(mesh, "slow.json", text, "shop/slow"):
        before = mesh.pod("shop/slow")
        (mesh.manifests / "slow.json").unlink()
        until("it terminates", lambda: status(mesh, "shop/slow")["phase"] == "Terminating")
        mesh.write("slow.json", text)
        until("another one is there", lambda: status(mesh, "shop/slow").get("uid", before["uid"]) != before["uid"])
        until("it is enrolled", lambda: status(mesh, "shop/slow")["enrolled"])
        until("it is ready", lambda: status(mesh, "shop/slow")["ready"])
        mesh.known.pop("shop/slow")
        assert mesh.curl(f"http://{mesh.pod('shop/slow')['addresses'][0]}:8080/").stdout == "slow\n"
        for pod in (before, mesh.pod("shop/slow")):
            os.kill(pod["pid"], signal.SIGKILL)  # they would take their time


LISTEN = (
    "import socket\n"
    "l = socket.create_server(('::', 9900), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('ready', flush=True); s, _ = l.accept()\n"
)
CALL = "import socket, sys\ns = socket.create_connection((sys.argv[1], 9900), timeout=10)\n"
GREET = "s.sendall(b'hello'); s.recv(5, socket.MSG_WAITALL); print('met', flush=True)\n"
WAIT = "import sys; sys.stdin.read()\n"
REPORT = (
    "s.settimeout(5)\n"
    "try: print('end' if s.recv(1) == b'' else 'data', flush=True)\n"
    "except ConnectionResetError: print('reset', flush=True)\n"
)
RESET = "import struct; s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()\n"


@pytest.mark.parametrize("dies", ["server", "client"])
@pytest.mark.parametrize("client", ["shop/frontend", "outside/client"])
def test_the_death_of_an_app_is_seen_by_the_other_side_at_once(mesh: Mesh, client: str, dies: str) -> None:
    last = {"server": (WAIT, REPORT), "client": (REPORT, WAIT)}[dies]
    with mesh.lab.started("shop/redis", "python3", "-c", LISTEN + GREET + last[0]) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        address = mesh.pod("shop/redis")["addresses"][0]
        with mesh.lab.started(client, "python3", "-c", CALL + GREET + last[1], address) as caller:
            assert caller.stdout and caller.stdout.readline() == "met\n"
            assert server.stdout.readline() == "met\n"
            gone, left = (server, caller) if dies == "server" else (caller, server)
            gone.send_signal(signal.SIGKILL)
            assert left.stdout and left.stdout.readline() in ("end\n", "reset\n")


@pytest.mark.parametrize("resets", ["server", "client"])
@pytest.mark.parametrize("client", ["shop/frontend", "outside/client"])
def test_a_reset_of_one_side_is_a_reset_for_the_other(mesh: Mesh, client: str, resets: str) -> None:
    last = {"server": (RESET, REPORT), "client": (REPORT, RESET)}[resets]
    with mesh.lab.started("shop/redis", "python3", "-c", LISTEN + GREET + last[0]) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        address = mesh.pod("shop/redis")["addresses"][0]
        with mesh.lab.started(client, "python3", "-c", CALL + GREET + last[1], address) as caller:
            assert caller.stdout and caller.stdout.readline() == "met\n"
            assert server.stdout.readline() == "met\n"
            left = caller if resets == "server" else server
            assert left.stdout and left.stdout.readline() == "reset\n"
