"""A route for HTTP and gRPC requests in a VirtualService."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, StrictStr

from agent.api.networking.destinations import Destination, Percent
from agent.api.networking.http_policies import CorsPolicy, Fault, Headers, Retry
from agent.api.networking.matches import HttpMatch
from agent.api.scalars import Base64, Count32, Duration, Nullable, OptionalPort, UInt32
from agent.api.strict import OneOf, StrictPart


class HttpDestination(StrictPart):
    """One of the places that a route's requests go to."""

    destination: Destination
    """The service or subset."""
    weight: Count32 = 0
    """Share relative to the sum of all weights; 0 for none, or for all if it is the only destination."""
    headers: Headers | None = None
    """Changes to headers for this destination."""


class Redirect(StrictPart):
    """Answer with a redirect to elsewhere; what is not given stays as requested."""

    one_ofs = (OneOf(("port", "derivePort")),)

    uri: StrictStr = ""
    """Path to redirect to, the query dropped."""
    authority: StrictStr = ""
    """Host to redirect to."""
    port: OptionalPort | None = None
    """Port to redirect to."""
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    """Where the port comes from: 80 or 443 after the scheme, or the one that was asked."""
    scheme: StrictStr = ""
    """http or https."""
    redirect_code: UInt32 = 0
    """Status code of the answer; 301 if 0."""
    prefix_rewrite: StrictStr = ""
    """What to put in place of the matched prefix of the path."""


class Body(StrictPart):
    """Content of an answer."""

    one_ofs = (OneOf(("string", "bytes")),)

    string: StrictStr | None = None
    """As a text."""
    bytes: Base64 | None = None
    """As bytes, in base64."""


class DirectResponse(StrictPart):
    """An answer that is given without asking anybody."""

    status: UInt32
    """Status code of HTTP."""
    body: Body | None = None
    """Content; empty if absent."""


class Delegate(StrictPart):
    """The VirtualService that has the rest of the routes."""

    name: StrictStr = ""
    """Its name."""
    namespace: StrictStr = ""
    """Its namespace; that of this VirtualService if empty."""


class RegexRewrite(StrictPart):
    """Rewriting the path by a regular expression."""

    match: StrictStr = ""
    """Regular expression of RE2."""
    rewrite: StrictStr = ""
    """What to put in place of what it matches; \\1 is its first group."""


class Rewrite(StrictPart):
    """Changes to a request before it goes to its destination."""

    uri: StrictStr = ""
    """What to put in place of the path, or of the prefix that was matched."""
    authority: StrictStr = ""
    """The Host or :authority header to send."""
    uri_regex_rewrite: RegexRewrite | None = None
    """Rewrite the path by a regular expression."""


class Mirror(StrictPart):
    """A copy of requests; the answers are dropped."""

    destination: Destination
    """Where copies go."""
    percentage: Percent | None = None
    """Share of the requests; all if absent."""


MirrorPercent = Annotated[Nullable[UInt32], Field(validation_alias=AliasChoices("mirrorPercent", "mirror_percent"))]


class HttpRoute(StrictPart):
    """Conditions, and what becomes of the requests that meet one of them; the first route that matches counts."""

    one_ofs = (OneOf(("mirrorPercent", "mirror_percent")),)

    name: StrictStr = ""
    """Name of the route, for access logs."""
    match: tuple[HttpMatch, ...] = ()
    """Alternatives; every request if empty."""
    route: tuple[HttpDestination, ...] = ()
    """Where requests go, by weight."""
    redirect: Redirect | None = None
    """Answer with a redirect."""
    direct_response: DirectResponse | None = None
    """Answer with a fixed response."""
    delegate: Delegate | None = None
    """Leave the decision to the routes of another VirtualService."""
    rewrite: Rewrite | None = None
    """Change path and host; not together with a redirect."""
    timeout: Duration | None = None
    """Time limit of the whole request with its retries; none if absent."""
    retries: Retry | None = None
    """When to try again; as the mesh says if absent, which is twice at most."""
    fault: Fault | None = None
    """Faults to inject; retries and timeouts do not apply where the fault is injected."""
    mirror: Destination | None = None
    """Where a copy of the requests goes; `mirrors` takes more than one."""
    mirrors: tuple[Mirror, ...] = ()
    """Where copies of the requests go."""
    mirror_percent: MirrorPercent = None
    """Deprecated: share of the requests to copy, 0 to 100; all if absent."""
    mirror_percentage: Percent | None = None
    """Share of the requests that `mirror` copies; all if absent."""
    cors_policy: CorsPolicy | None = None
    """Cross-Origin Resource Sharing."""
    headers: Headers | None = None
    """Changes to headers, for all destinations."""
