"""What a route of a VirtualService does besides choosing a destination: retries, CORS, faults, headers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictStr

from agent.api.networking.destinations import Percent
from agent.api.networking.matches import StringMatch
from agent.api.scalars import Count32, Duration, Flag, Int32, TextMap, Texts
from agent.api.strict import OneOf, StrictPart


class HeaderOperations(StrictPart):
    """Changes to headers; removal comes last."""

    set: TextMap = Field(default_factory=dict)
    """Headers to write over, or add."""
    add: TextMap = Field(default_factory=dict)
    """Headers to append to those of the same name."""
    remove: Texts = ()
    """Names of headers to take out."""


class Headers(StrictPart):
    """Changes to headers in both directions."""

    request: HeaderOperations | None = None
    """Before the request goes to the destination."""
    response: HeaderOperations | None = None
    """Before the response goes back."""


class Retry(StrictPart):
    """When a request is sent again."""

    attempts: Count32 = 0
    """How many times more at most; 0 switches retries off."""
    per_try_timeout: Duration | None = None
    """Time limit of each attempt; that of the route if absent."""
    retry_on: StrictStr = ""
    """Envoy's conditions or status codes, joined by commas; those of the mesh if empty."""
    retry_remote_localities: Flag = None
    """Whether another attempt may go to other localities; as Envoy's load balancing does if absent."""
    retry_ignore_previous_hosts: Flag = None
    """Whether another attempt avoids the endpoints already tried; true if absent."""
    backoff: Duration | None = None
    """The shortest pause between attempts; 25ms if absent."""


class CorsPolicy(StrictPart):
    """Cross-Origin Resource Sharing."""

    allow_origin: Texts = ()
    """Deprecated: exact origins, or '*'."""
    allow_origins: tuple[StringMatch, ...] = ()
    """Origins that are let in."""
    allow_methods: Texts = ()
    """Methods that the preflight's answer names."""
    allow_headers: Texts = ()
    """Request headers that the preflight's answer names."""
    expose_headers: Texts = ()
    """Response headers that the browser may show to scripts."""
    max_age: Duration | None = None
    """How long the preflight's answer may be kept."""
    allow_credentials: Flag = None
    """Whether requests may carry credentials; false if absent."""
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"
    """Preflights of other origins go to the destination (FORWARD, the default) or are answered here (IGNORE)."""


class Delay(StrictPart):
    """Hold requests back."""

    one_ofs = (OneOf(("fixedDelay", "exponentialDelay")),)

    percent: Int32 = 0
    """Deprecated: share of the requests, 0 to 100."""
    fixed_delay: Duration | None = None
    """How long."""
    exponential_delay: Duration | None = None
    """Reserved: mean of a random delay; not implemented by Istio."""
    percentage: Percent | None = None
    """Share of the requests; none if absent."""


class Abort(StrictPart):
    """Answer requests with an error."""

    one_ofs = (OneOf(("httpStatus", "grpcStatus", "http2Error")),)

    http_status: Int32 | None = None
    """Status code of HTTP."""
    grpc_status: StrictStr | None = None
    """Name of a gRPC status, such as UNAVAILABLE."""
    http2_error: StrictStr | None = None
    """Reserved: error code of HTTP/2; not implemented by Istio."""
    percentage: Percent | None = None
    """Share of the requests; none if absent."""


class Fault(StrictPart):
    """Faults to inject, each independent of the other."""

    delay: Delay | None = None
    """Hold requests back before they are sent on."""
    abort: Abort | None = None
    """Answer requests without sending them on."""
