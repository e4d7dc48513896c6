"""The webhook's port: what it answers, and the certificate that it answers with."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from agent.controller.authority import ca
from agent.controller.authority.in_force import InForce
from agent.controller.server import ServerCertificate
from agent.controller.webhook import Webhook, take
from agent.metrics import ControllerMetrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_client() -> tuple[TestClient[web.Request, web.Application], CollectorRegistry]:
    registry = CollectorRegistry()
    app = web.Application()
    app.add_routes(Webhook(ControllerMetrics(registry)).routes())
    return TestClient(TestServer(app)), registry


def shown(context: ssl.SSLContext) -> bytes:
    """The certificate, DER, that a handshake with a server of this context shows."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = asking.wrap_bio(to_client, to_server)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


async def test_garbage_is_answered_with_400_and_counted() -> None:
    client, registry = a_client()
    async with client:
        for body in (b"", b"{", b"\xff", b"[]", b"[" * 100_000):
            response = await client.post("/validate", data=body)
            assert response.status == 400, body[:10]
    assert registry.get_sample_value("galley_validation_http_error_total") == 5


async def test_verdicts_are_counted() -> None:
    client, registry = a_client()
    spec = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    async with client:
        for found in (spec, {**spec, "metadata": {}}):
            review = {"request": {"uid": "1", "operation": "CREATE", "object": found}}
            response = await client.post("/validate", json=review)
            assert response.status == 200
    assert registry.get_sample_value("galley_validation_passed_total") == 1
    assert registry.get_sample_value("galley_validation_failed_total") == 1


def test_a_renewed_certificate_counts_from_the_next_handshake_on(tmp_path: Path) -> None:
    clock = [NOW]
    own = ServerCertificate(InForce(ca.load_or_create(tmp_path, NOW)), timedelta(hours=24), lambda: clock[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    take(context, own)
    first = shown(context)
    take(context, own)
    assert shown(context) == first
    clock[0] = NOW + timedelta(hours=12)
    take(context, own)
    assert shown(context) != first
