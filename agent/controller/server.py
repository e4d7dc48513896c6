"""The gRPC edge: discovery and certificate signing, over TLS, on one port.

Every call is authenticated before anything of it is read; then the rules in auth.py decide.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn, cast

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from agent import wire
from agent.controller import auth
from agent.controller.authority import ca
from agent.controller.authority.in_force import InForce
from agent.controller.authority.issuance import Issuance, asked, who
from agent.controller.cluster import ClusterState
from agent.controller.discovery import Discovery
from agent.controller.refusals import OUTCOMES, Refusals, code_of
from agent.errors import UnavailableError, WeftError
from agent.metrics import ControllerMetrics
from agent.proto import ca_pb2

logger = logging.getLogger(__name__)

_NAMES: Final = ("istiod", "weft-controller")
HOSTS: Final = tuple(
    f"{name}.{wire.SYSTEM_NAMESPACE}{suffix}"
    for name in _NAMES
    for suffix in ("", ".svc", f".svc.{wire.DEFAULT_CLUSTER_DOMAIN}")
)
SERVER_CERTIFICATE_TTL: Final = timedelta(hours=24)
_RETRY: Final = timedelta(minutes=1)
_STOP_SECONDS: Final = 1.0

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),  # a first response holds the whole mesh
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a share of the connections
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.server_handshake_timeout_ms", 10_000),  # the default, 2 min, lets silent callers pile up
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # node proxies ping every 10 to 30 s
    ("grpc.max_connection_idle_ms", 60_000),  # nobody has a reason to stay without a call
    ("grpc.max_connection_age_grace_ms", 3_000),  # for certificates that are being signed; streams go on in it
)

Context = grpc.aio.ServicerContext[object, object]
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class ServerCertificate:
    """The server's own certificate, replaced at half of its life while connections go on, and with its authority.

    gRPC asks for it at each handshake, from threads of its own. Each port has one of its own.
    """

    def __init__(self, in_force: InForce, ttl: timedelta = SERVER_CERTIFICATE_TTL, clock: Clock = utc_now) -> None:
        self.in_force = in_force
        self._ttl = ttl
        self._clock = clock
        self._turn = threading.Lock()
        self._renew_at = datetime.min.replace(tzinfo=UTC)
        self._issued_by: ca.Authority | None = None

    def issue_if_due(self) -> tuple[str, str] | None:
        """Key and chain, both PEM, when it is time for new ones, else None.

        Raises UnavailableError when there is none at all yet, and the authority has expired.
        """
        with self._turn:
            now, authority = self._clock(), self.in_force.authority
            if now < self._renew_at and authority == self._issued_by:
                return None
            try:
                key, chain = authority.issue_server(HOSTS, self._ttl, now)
            except UnavailableError as exc:
                if self._issued_by is None:
                    raise
                logger.error("the server keeps its certificate", extra={"reason": exc})
                self._issued_by, self._renew_at = authority, now + _RETRY
                return None
            self._issued_by, self._renew_at = authority, now + self._ttl / 2
        logger.info("issued the server's own certificate", extra={"expires": now + self._ttl})
        return key, chain

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """A new configuration when it is time for one, else None."""
        issued = self.issue_if_due()
        if issued is None:
            return None
        key, chain = issued
        return grpc.ssl_server_certificate_configuration([(key.encode(), chain.encode())])

    def credentials(self) -> grpc.ServerCredentials:
        # The stub has no None, with which a fetcher says that nothing changed.
        fetch = cast(Callable[[], grpc.ServerCertificateConfiguration], self.renewed)
        return grpc.dynamic_ssl_server_credentials(fetch(), fetch, require_client_authentication=False)


class Services:
    """The two services' methods. `ttl` bounds are those of the settings."""

    def __init__(
        self,
        *,
        in_force: InForce,
        state: ClusterState,
        discovery: Discovery,
        callers: auth.Authenticator,
        trusted: Sequence[str],
        trust_domain: str,
        default_ttl: timedelta,
        longest_ttl: timedelta,
        metrics: ControllerMetrics,
    ) -> None:
        self._issuance = Issuance(
            in_force, state, trusted, trust_domain, default_ttl, longest_ttl, metrics, clock=utc_now
        )
        self._discovery = discovery
        self._callers = callers
        self._trusted = trusted
        self._metrics = metrics
        self._refusals = Refusals(metrics)

    async def create_certificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        caller = None
        try:
            caller = await self._caller(context)
            chain = self._issuance.certify(request, caller)
        except WeftError as exc:
            self._metrics.certificate_requests.labels(outcome=OUTCOMES[code_of(exc)]).inc()
            await self._abort(context, exc, "certificate", caller, identity=asked(request))
        self._metrics.certificate_requests.labels(outcome="issued").inc()
        return ca_pb2.IstioCertificateResponse(cert_chain=chain)

    async def stream_resources(
        self, requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], context: Context
    ) -> None:
        caller = None
        try:
            caller = await self._caller(context)
            auth.require_node_proxy(caller, self._trusted)
            await self._discovery.serve(caller, requests, context.write, context.peer())
        except WeftError as exc:
            await self._abort(context, exc, "discovery", caller)

    async def _caller(self, context: Context) -> auth.Caller:
        return await self._callers.caller(auth.bearer_token(context.invocation_metadata() or ()))

    async def _abort(
        self, context: Context, error: WeftError, call: str, caller: auth.Caller | None, **facts: str
    ) -> NoReturn:
        known = who(caller) if caller is not None else {}
        self._refusals.note(call, error, peer=str(context.peer()), **known, **facts)
        await context.abort(code_of(error), str(error))


def _handlers(services: Services) -> tuple[grpc.GenericRpcHandler[object, object], ...]:
    # Discovery's responses are encoded already, which the generated code does not foresee.
    stream = grpc.stream_stream_rpc_method_handler(
        services.stream_resources, request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString
    )
    sign = grpc.unary_unary_rpc_method_handler(
        services.create_certificate,
        request_deserializer=ca_pb2.IstioCertificateRequest.FromString,
        response_serializer=ca_pb2.IstioCertificateResponse.SerializeToString,
    )
    return (
        grpc.method_handlers_generic_handler(
            "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": stream}
        ),
        grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", {"CreateCertificate": sign}),
    )


@contextlib.asynccontextmanager
async def serving(
    services: Services, credentials: grpc.ServerCredentials, port: int, connection_age: timedelta
) -> AsyncIterator[None]:
    """Answer calls while the block runs. Raises UnavailableError when the port is taken.

    connection_age: when a connection is ended, a tenth sooner or later, as gRPC does it. Proxies come back with a fresh
    token, so a withdrawn one is of no use for longer.
    """
    age = ("grpc.max_connection_age_ms", int(connection_age.total_seconds() * 1000))
    server = grpc.aio.server(options=(*_OPTIONS, age))
    server.add_generic_rpc_handlers(_handlers(services))
    try:
        server.add_secure_port(f"[::]:{port}", credentials)
    except RuntimeError as exc:
        raise UnavailableError(f"cannot listen on port {port}: is it taken? {exc}") from exc
    await server.start()
    try:
        yield
    finally:
        await server.stop(_STOP_SECONDS)
