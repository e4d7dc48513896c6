"""Port 15008 of an enrolled pod, called by a raw HTTP/2 client that holds a valid certificate."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from agent.model import Identity
from agent.wire import HBONE_PORT, PROXY_PORTS
from tests.support.hbone import Credentials, Tunnel
from tests.support.mesh import HOUR, Mesh, credentials, identity_in

CALLER = Identity("outside", "default")
REQUEST = b"GET / HTTP/1.0\r\nHost: web\r\n\r\n"


def open_tunnel(mesh: Mesh, shown: Credentials, pod: str = "shop/web") -> Tunnel:
    return Tunnel(mesh.connect("outside/client", mesh.pod(pod)["addresses"][0], HBONE_PORT), shown)


def test_a_valid_certificate_reaches_the_app_and_sees_the_pods_identity(mesh: Mesh) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
        stream, status = tunnel.connect(f"{address}:8080")
        assert status == 200
        assert b"200 OK" in tunnel.exchange(stream, REQUEST)
        assert identity_in(tunnel.peer_certificate) == "spiffe://cluster.local/ns/shop/sa/backend"


@pytest.mark.parametrize("port", PROXY_PORTS)
def test_a_port_of_the_proxy_is_refused_as_authority(mesh: Mesh, port: int) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
        assert tunnel.connect(f"{address}:{port}")[1] == 400


@pytest.mark.parametrize(
    "authority",
    ["127.0.0.1:8080", "[::1]:8080", "0.0.0.0:8080", "192.0.2.1:8080", "web.shop:80", "nonsense", "[::", ""],
)
def test_an_authority_that_is_not_the_pods_own_address_is_refused(mesh: Mesh, authority: str) -> None:
    with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
        try:
            status = tunnel.connect(authority)[1]
        except ConnectionResetError:
            return  # a request that is no HTTP/2 request at all may end the stream
        assert status == 400


def test_another_pods_address_is_refused_as_authority(mesh: Mesh) -> None:
    other = mesh.pod("shop/redis")["addresses"][0]
    with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
        assert tunnel.connect(f"{other}:6379")[1] == 400


def test_only_connect_is_a_method(mesh: Mesh) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
        assert tunnel.connect(f"{address}:8080", method="GET")[1] == 400


def test_a_closed_port_of_the_app_is_a_503(mesh: Mesh) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
        assert tunnel.connect(f"{address}:9")[1] == 503


def refused(mesh: Mesh, shown: Credentials) -> None:
    """The handshake fails, or the server ends it with an alert before it answers anything."""
    address = mesh.pod("shop/web")["addresses"][0]
    with pytest.raises((ssl.SSLError, ConnectionError)), open_tunnel(mesh, shown) as tunnel:
        tunnel.connect(f"{address}:8080")


def test_a_client_without_a_certificate_is_refused(mesh: Mesh) -> None:
    refused(mesh, Credentials(mesh.credentials(CALLER).roots))


def test_a_client_with_an_expired_certificate_is_refused(mesh: Mesh) -> None:
    refused(mesh, mesh.credentials(CALLER, life=HOUR, age=2 * HOUR))


def test_a_client_with_a_certificate_that_is_not_valid_yet_is_refused(mesh: Mesh) -> None:
    refused(mesh, mesh.credentials(CALLER, age=timedelta(hours=-2)))


def test_a_client_of_another_authority_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    roots = mesh.credentials(CALLER).roots
    refused(mesh, credentials(tmp_path, CALLER, roots=roots))


def test_a_client_of_a_foreign_trust_domain_is_refused(mesh: Mesh) -> None:
    refused(mesh, mesh.credentials(Identity("outside", "default", "other.example")))


def test_a_tunnel_takes_no_more_streams_once_its_client_has_expired(mesh: Mesh) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    with open_tunnel(mesh, mesh.credentials(CALLER, life=HOUR, age=HOUR - timedelta(seconds=3))) as tunnel:
        assert tunnel.connect(f"{address}:8080")[1] == 200
        tunnel.until_leaving()


def test_garbage_and_half_open_connections_leave_the_others_alone(mesh: Mesh) -> None:
    address = mesh.pod("shop/web")["addresses"][0]
    idle = [mesh.connect("outside/client", address, HBONE_PORT) for _ in range(20)]
    try:
        for sock in idle[::2]:
            sock.sendall(b"\x16\x03\x01\xff\xff" + b"garbage" * 1000)
        with open_tunnel(mesh, mesh.credentials(CALLER)) as tunnel:
            assert tunnel.connect(f"{address}:8080")[1] == 200
    finally:
        for sock in idle:
            sock.close()
