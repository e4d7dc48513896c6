"""Limits of the connections to each endpoint of a service, and when an endpoint is left out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from agent.api.scalars import AnyDuration, Duration, Int32, Nullable, PercentDouble, UInt32
from agent.api.strict import StrictPart

ErrorCode = Annotated[StrictInt, Field(ge=100, le=599)]


class TcpKeepalive(StrictPart):
    """SO_KEEPALIVE; what is absent is as the operating system has it."""

    probes: UInt32 = 0
    """Probes without an answer before the connection is dead; 9 on Linux."""
    time: Duration | None = None
    """Idle time before the first probe; 2h on Linux."""
    interval: Duration | None = None
    """Time between probes; 75s on Linux."""


class TcpSettings(StrictPart):
    """Settings of connections of HTTP and TCP."""

    max_connections: Int32 = 0
    """Most connections to an endpoint; 2^32-1 if 0."""
    connect_timeout: Duration | None = None
    """Time limit of connecting; that of the mesh if absent, which is 10s."""
    tcp_keepalive: TcpKeepalive | None = None
    """Whether and how idle connections are probed; as the mesh says if absent."""
    max_connection_duration: Duration | None = None
    """Longest life of a connection; none if absent."""
    idle_timeout: AnyDuration | None = None
    """Time without a byte in either direction after which a connection is closed; 1h if absent, never if 0s."""


class Http2Keepalive(StrictPart):
    """PING frames of HTTP/2 to the endpoint."""

    interval: Duration | None = None
    """Time between frames; needed."""
    timeout: Duration | None = None
    """How long to wait for the answer before the connection is closed; needed."""


class HttpSettings(StrictPart):
    """Settings of connections of HTTP."""

    http1_max_pending_requests: Int32 = 0
    """Most requests that wait for a connection; 2^32-1 if 0."""
    http2_max_requests: Int32 = 0
    """Most requests under way to a service, of either version of HTTP; 2^32-1 if 0."""
    max_requests_per_connection: Int32 = 0
    """Requests after which a connection is closed; 0 for no limit, 1 for no keep-alive."""
    max_retries: Int32 = 0
    """Most retries under way to a service; 2^32-1 if 0."""
    idle_timeout: Duration | None = None
    """Time without a request after which a connection is closed; 1h if absent."""
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    """Whether HTTP/1.1 is sent on as HTTP/2; DEFAULT is as the mesh says."""
    use_client_protocol: StrictBool = False
    """Whether to speak the client's version of HTTP; rules out h2UpgradePolicy UPGRADE."""
    max_concurrent_streams: Int32 = 0
    """Most streams on one connection of HTTP/2; 2^31-1 if 0."""
    http2_keep_alive: Http2Keepalive | None = None
    """Whether and how connections of HTTP/2 are probed."""


class ConnectionPool(StrictPart):
    """Limits of connections, each per endpoint or service as it says."""

    tcp: TcpSettings | None = None
    """Those of HTTP and TCP."""
    http: HttpSettings | None = None
    """Those of HTTP."""


class OutlierDetection(StrictPart):
    """When an endpoint that fails is left out for a while."""

    consecutive_errors: Int32 = 0
    """Deprecated, without effect."""
    split_external_local_origin_errors: StrictBool = False
    """Whether failures to connect are counted apart from errors that the endpoint answers."""
    consecutive_local_origin_failures: Nullable[UInt32] = None
    """Failures to connect in a row, if they are counted apart; 5 if absent, 0 switches it off."""
    consecutive_gateway_errors: Nullable[UInt32] = None
    """Answers 502, 503 or 504 in a row; off if absent or 0."""
    consecutive_5xx_errors: Annotated[Nullable[UInt32], Field(alias="consecutive5xxErrors")] = None
    """Answers 5xx, or failures of TCP, in a row; 5 if absent, 0 switches it off."""
    interval: Duration | None = None
    """Time between evaluations; 10s if absent."""
    base_ejection_time: Duration | None = None
    """Shortest time out, multiplied by how often it happened; 30s if absent."""
    max_ejection_percent: Int32 = 0
    """Largest share of the endpoints that may be out, in per cent; 10 if 0."""
    min_health_percent: Int32 = 0
    """Share of healthy endpoints, in per cent, below which none is left out and all are used; 0 for never."""
    outlier_detection_http_error_codes: tuple[ErrorCode, ...] = ()
    """Status codes that count as errors; 5xx if empty."""


class RetryBudget(StrictPart):
    """Limit on retries as a share of the requests."""

    percent: Nullable[PercentDouble] = None
    """Retries in per cent of requests under way and waiting; 20 if absent."""
    min_retry_concurrency: UInt32 = 0
    """Retries that are allowed in any case; 3 if 0."""
    budget_interval: AnyDuration | None = None
    """Time over which requests are counted; only those of the moment if absent or 0s."""
