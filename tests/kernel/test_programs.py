"""Unmodified programs through the mesh: curl and nginx, redis, a server that speaks first."""

from __future__ import annotations

import pytest

from tests.support.mesh import Mesh

CLIENTS = ["shop/frontend", "outside/client"]  # within the mesh; from outside, over plain TCP
FAMILIES = [0, 1]  # index of the address: IPv4, IPv6


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_curl_reaches_nginx_through_the_service(mesh: Mesh, client: str, family: int) -> None:
    done = mesh.curl(f"http://{literal(mesh.service('shop/web')[family])}/", pod=client)
    assert done.stdout == f"catalogue for {mesh.pod(client)['addresses'][family]}\n", done.stderr


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_curl_reaches_nginx_at_the_pods_own_address(mesh: Mesh, client: str, family: int) -> None:
    done = mesh.curl(f"http://{literal(mesh.pod('shop/web')['addresses'][family])}:8080/", pod=client)
    assert done.stdout == f"catalogue for {mesh.pod(client)['addresses'][family]}\n", done.stderr


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_redis_keeps_what_its_clients_say(mesh: Mesh, client: str, family: int) -> None:
    address = mesh.service("shop/redis")[family]
    key = f"key-{client}-{family}"
    assert mesh.lab.run(client, "redis-cli", "-h", address, "SET", key, "value").stdout == "OK\n"
    assert mesh.lab.run(client, "redis-cli", "-h", address, "GET", key).stdout == "value\n"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_server_may_speak_first(mesh: Mesh, client: str, family: int) -> None:
    address = mesh.service("shop/greeter")[family]
    talk = (
        "import socket, sys\n"
        "s = socket.create_connection((sys.argv[1], 25), timeout=10); f = s.makefile('rwb')\n"
        "print(f.readline().decode().strip()); f.write(b'hello\\n'); f.flush(); print(f.readline().decode().strip())\n"
        "s.shutdown(socket.SHUT_WR); print(f.read())\n"
    )
    done = mesh.lab.run(client, "python3", "-c", talk, address)
    assert done.stdout == f"220 welcome {mesh.pod(client)['addresses'][family]}\nhello\nb''\n", done.stderr


def test_a_mapped_address_is_the_ipv4_address(mesh: Mesh) -> None:
    talk = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET6); s.settimeout(10); s.connect(('::ffff:' + sys.argv[1], 80))\n"
        "print(s.getpeername()[:2], s.getsockname()[0])\n"
        "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.makefile().read().splitlines()[-1])\n"
    )
    address, own = mesh.service("shop/web")[0], mesh.pod("shop/frontend")["addresses"][0]
    done = mesh.lab.run("shop/frontend", "python3", "-c", talk, address)
    assert done.stdout == f"('::ffff:{address}', 80) ::ffff:{own}\ncatalogue for {own}\n", done.stderr


def test_the_mesh_calls_out_of_the_mesh_over_plain_tcp(mesh: Mesh) -> None:
    server = (
        "import http.server; http.server.HTTPServer(('', 8099), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    address = mesh.pod("outside/client")["addresses"][0]
    with mesh.lab.started("outside/client", "sh", "-c", f'cd "$(mktemp -d)" && exec python3 -c "{server}"'):
        done = mesh.curl(
            f"http://{address}:8099/",
            "--retry",
            "50",
            "--retry-delay",
            "0",
            "--retry-connrefused",
            "--retry-all-errors",
        )
    assert "Directory listing" in done.stdout, done.stderr


def test_a_large_body_arrives_whole_in_both_directions(mesh: Mesh) -> None:
    size = 50_000_000
    address = mesh.service("shop/redis")[0]
    talk = (
        "import hashlib, os, socket, sys\n"
        "size = int(sys.argv[2]); data = os.urandom(size)\n"
        "s = socket.create_connection((sys.argv[1], 6379), timeout=60); f = s.makefile('rwb')\n"
        "f.write(b'*3\\r\\n$3\\r\\nSET\\r\\n$5\\r\\nlarge\\r\\n$%d\\r\\n' % size + data + b'\\r\\n'); f.flush()\n"
        "assert f.readline() == b'+OK\\r\\n'\n"
        "f.write(b'*2\\r\\n$3\\r\\nGET\\r\\n$5\\r\\nlarge\\r\\n'); f.flush(); f.readline()\n"
        "print(f.read(size) == data); f.write(b'*2\\r\\n$3\\r\\nDEL\\r\\n$5\\r\\nlarge\\r\\n'); f.flush()\n"
    )
    done = mesh.lab.run("shop/frontend", "python3", "-c", talk, address, str(size), timeout=90)
    assert done.stdout == "True\n", done.stderr


def test_a_closed_port_is_refused_at_once(mesh: Mesh) -> None:
    done = mesh.curl(f"http://{mesh.pod('shop/web')['addresses'][0]}:9/")
    assert done.returncode in (7, 52, 56), done.stderr  # refused, empty, reset; never a time-out (28)


def test_a_service_without_endpoints_is_refused_at_once(mesh: Mesh) -> None:
    ports = "{ports: [{port: 80}], selector: {app: nobody}}"
    mesh.write(
        "empty.yaml", f"apiVersion: v1\nkind: Service\nmetadata: {{name: empty, namespace: shop}}\nspec: {ports}\n"
    )
    try:
        done = mesh.curl("http://empty/", "--retry", "20", "--retry-delay", "0", "--retry-max-time", "2")
        assert done.returncode in (7, 52, 56), done.stderr
        assert "no healthy endpoint" in mesh.lab.log("node-1-proxy")
    finally:
        (mesh.manifests / "empty.yaml").unlink()


def test_both_ends_of_a_connection_are_in_the_metrics(mesh: Mesh) -> None:
    mesh.curl("http://web.shop/")
    for node, reporter in (("node-1", "source"), ("node-2", "destination")):
        text = mesh.scrape(node, 15020, "/metrics")
        rows = [
            line
            for line in text.splitlines()
            if line.startswith("istio_tcp_connections_opened_total")
            and f'reporter="{reporter}"' in line
            and 'source_principal="spiffe://cluster.local/ns/shop/sa/frontend"' in line
            and 'destination_principal="spiffe://cluster.local/ns/shop/sa/backend"' in line
            and 'connection_security_policy="mutual_tls"' in line
        ]
        assert rows, text


def test_the_proxy_says_that_it_is_ready_and_what_it_knows(mesh: Mesh) -> None:
    assert mesh.scrape("node-1", 15021, "/healthz/ready") == "ready\n"
    dump = mesh.scrape("node-1", 15000, "/config_dump")
    assert "spiffe://cluster.local/ns/shop/sa/frontend" in dump
    assert "PRIVATE KEY" not in dump
