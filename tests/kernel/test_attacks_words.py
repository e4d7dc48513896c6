"""What a client says of itself on CONNECT, `baggage` and `forwarded`: it decides nothing and labels nothing."""

from __future__ import annotations

import json

import pytest

from agent.lab.session import until
from agent.model import Identity
from agent.wire import HBONE_PORT, METRICS_PORT
from tests.support.attacker import ATTACKER, bounded, bystander, web
from tests.support.hbone import Tunnel
from tests.support.mesh import Mesh
from tests.support.rules import enforced

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
LIES = "k8s.cluster.name=Kubernetes,k8s.namespace.name=stolen,k8s.deployment.name=stolen,service.name=stolen"


def tunnel_of(mesh: Mesh, identity: Identity = ATTACKER) -> Tunnel:
    return Tunnel(mesh.connect("outside/client", web(mesh), HBONE_PORT), mesh.credentials(identity))


def only_from(mesh: Mesh, **source: list[str]) -> str:
    """A policy that lets in whoever is from there, and nobody else."""
    rules = [{"from": [{"source": source}]}]
    metadata = {"name": "only", "namespace": "shop"}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "action": "ALLOW", "rules": rules}
    return json.dumps(
        {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}
    )


def test_the_app_and_the_books_are_told_of_the_client_that_was_seen(mesh: Mesh) -> None:
    own = mesh.pod("outside/client")["addresses"][0]
    victim = mesh.pod("shop/frontend")["addresses"][0]
    with tunnel_of(mesh) as tunnel:
        forwarded = f'for="{victim}:80";host=stolen'
        stream, status = tunnel.connect(f"{web(mesh)}:8080", ("baggage", LIES), ("forwarded", forwarded))
        assert status == 200
        assert f"catalogue for {own}".encode() in tunnel.exchange(stream, REQUEST)
    entry = f"src.addr={own}:"
    until("it is logged", lambda: entry in mesh.lab.log("node-2-proxy"))
    assert "stolen" not in mesh.lab.log("node-2-proxy")
    metrics = mesh.scrape("node-2", METRICS_PORT, "/metrics")
    assert "stolen" not in metrics
    principal = f'source_principal="{ATTACKER}"'
    assert any(principal in row and 'source_workload="client"' in row for row in metrics.splitlines())


def test_a_policy_on_addresses_goes_by_the_connection_not_by_forwarded(mesh: Mesh) -> None:
    victim = mesh.pod("shop/frontend")["addresses"][0]
    with enforced(mesh, only_from(mesh, ipBlocks=[victim])), tunnel_of(mesh) as tunnel:
        for value in (f'for="{victim}:80"', f"for={victim}", f'for="{victim}:80";host=web.shop'):
            assert tunnel.connect(f"{web(mesh)}:8080", ("forwarded", value))[1] == 401


def test_a_policy_on_identities_goes_by_the_certificate_not_by_baggage(mesh: Mesh) -> None:
    lies = "k8s.namespace.name=shop,k8s.deployment.name=frontend,service.name=frontend"
    policy = only_from(mesh, principals=["cluster.local/ns/shop/sa/frontend"])
    with enforced(mesh, policy), tunnel_of(mesh) as tunnel:
        assert tunnel.connect(f"{web(mesh)}:8080", ("baggage", lies))[1] == 401
        with tunnel_of(mesh, Identity("shop", "frontend")) as honest:
            assert honest.connect(f"{web(mesh)}:8080", ("baggage", LIES))[1] == 200


@pytest.mark.parametrize("name", ["baggage", "forwarded", "traceparent"])
@pytest.mark.parametrize(
    "value",
    ["", "=", ",,,,", "for=", 'for="', "a=b=c,=d,e=", '%00%ff\\"', "for=[::1", "k8s.namespace.name", "x" * 50_000],
    ids=lambda value: value[:20] or "empty",
)
def test_a_malformed_value_is_passed_over(mesh: Mesh, name: str, value: str) -> None:
    with tunnel_of(mesh) as tunnel:
        assert tunnel.connect(f"{web(mesh)}:8080", (name, value), (name, value[:100]))[1] == 200


@pytest.mark.parametrize(
    "more",
    [(("baggage", "x" * 70_000),), (("forwarded", "for=1"),) * 2000],
    ids=["one of 70 KB", "two thousand"],
)
def test_more_than_64_kilobytes_of_headers_are_refused(mesh: Mesh, more: tuple[tuple[str, str], ...]) -> None:
    with bounded(mesh.process("node-2-proxy"), 10), tunnel_of(mesh) as tunnel:
        assert tunnel.connect(f"{web(mesh)}:8080", *more)[1] == 431
        assert bystander(mesh) < 3
