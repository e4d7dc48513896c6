"""The HTTPS edge of admission, on a port of its own, with a certificate that it renews."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from agent import admin
from agent.controller import admission
from agent.controller.server import ServerCertificate
from agent.errors import InvalidObjectError
from agent.metrics import ControllerMetrics

logger = logging.getLogger(__name__)

# An API server keeps its connections, so they are the oldest; ending them must take many strangers.
MOST_CONNECTIONS: Final = 1000
LONGEST_REVIEW: Final = 8 * 1024 * 1024  # an object of etcd's 1.5 MiB, old and new, escaped
LOOK_SECONDS: Final = 60.0  # how often it is asked whether the certificate is due


class Webhook:
    """What the webhook's port answers."""

    def __init__(self, metrics: ControllerMetrics) -> None:
        self._metrics = metrics
        self.dropped = metrics.dropped_callers.inc

    def routes(self) -> list[web.RouteDef]:
        return [web.post(admission.PATH, self._validate), web.get("/readyz", self._ready)]

    async def _validate(self, request: web.Request) -> web.Response:
        try:
            review = await request.json()
            found = await asyncio.to_thread(admission.answer, review)
        except (json.JSONDecodeError, UnicodeDecodeError, InvalidObjectError, RecursionError) as exc:
            self._metrics.malformed_reviews.inc()
            return web.Response(status=400, text=f"{exc}\n")
        response = found["response"]
        if response["allowed"]:
            self._metrics.admitted.inc()
        else:
            self._metrics.refused_objects.inc()
            logger.info("refused an object", extra={"reason": response["status"]["message"]})
        return web.json_response(found)

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n")


@contextlib.asynccontextmanager
async def serving(
    webhook: Webhook, certificate: ServerCertificate, port: int, look_seconds: float = LOOK_SECONDS
) -> AsyncIterator[None]:
    """Answer while the block runs. Raises UnavailableError when the port is taken.

    A renewed certificate counts from the next handshake on; open connections keep theirs.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    take(context, certificate)
    renewing = asyncio.create_task(_renew(context, certificate, look_seconds))
    try:
        async with admin.serving(
            webhook.routes(),
            host=None,
            port=port,
            dropped=webhook.dropped,
            tls=context,
            longest_request=LONGEST_REVIEW,
            most_connections=MOST_CONNECTIONS,
        ):
            yield
    finally:
        renewing.cancel()


async def _renew(context: ssl.SSLContext, certificate: ServerCertificate, look_seconds: float) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(look_seconds):
                await certificate.in_force.replaced()
        take(context, certificate)


def take(context: ssl.SSLContext, certificate: ServerCertificate) -> None:
    """Put a new certificate into force if it is time for one; the key is in memory only."""
    issued = certificate.issue_if_due()
    if issued is None:
        return
    key, chain = issued
    descriptor = os.memfd_create("webhook-certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + chain)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
