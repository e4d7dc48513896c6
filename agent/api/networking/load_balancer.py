"""How requests and connections are spread over the endpoints of a service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from agent.api.scalars import AnyDuration, Double, Duration, Flag, Nullable, PercentDouble, Texts, UInt32, UInt64
from agent.api.strict import OneOf, StrictPart


class CookieAttribute(StrictPart):
    """An attribute of the cookie, such as SameSite."""

    name: StrictStr
    """Its name."""
    value: StrictStr = ""
    """Its value; none if empty."""


class HttpCookie(StrictPart):
    """The cookie to hash, made if the request has none."""

    name: StrictStr
    """Name of the cookie."""
    path: StrictStr = ""
    """Path to set for the cookie."""
    ttl: AnyDuration | None = None
    """Lifetime of a cookie that is made; 0s for one that lasts as long as the browser, none is made if absent."""
    attributes: tuple[CookieAttribute, ...] = ()
    """Further attributes to set."""


class RingHash(StrictPart):
    """Ketama's ring."""

    minimum_ring_size: UInt64 = 0
    """Fewest points on the ring; 1024 if 0."""


class Maglev(StrictPart):
    """Maglev's table."""

    table_size: UInt64 = 0
    """Entries of the table, a prime; 65537 if 0."""


class ConsistentHash(StrictPart):
    """What is alike in this goes to the same endpoint, as long as the endpoints stay."""

    one_ofs = (
        OneOf(("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")),
        OneOf(("ringHash", "maglev")),
    )

    http_header_name: StrictStr | None = None
    """A header of the request."""
    http_cookie: HttpCookie | None = None
    """A cookie."""
    use_source_ip: StrictBool | None = None
    """The client's address."""
    http_query_parameter_name: StrictStr | None = None
    """A parameter of the query."""
    ring_hash: RingHash | None = None
    """Use a ring; the default."""
    maglev: Maglev | None = None
    """Use Maglev's table."""
    minimum_ring_size: UInt64 = 0
    """Deprecated: see ringHash."""


class Distribute(StrictPart):
    """Shares of the traffic of one locality, which together are 100."""

    from_: Annotated[StrictStr, Field(alias="from")] = ""
    """Where it comes from: REGION/ZONE/SUBZONE, with '*' for the rest."""
    to: dict[StrictStr, UInt32] = Field(default_factory=dict)
    """Per cent of it by where it goes."""


class Failover(StrictPart):
    """Where the traffic of a region goes when that has no healthy endpoint."""

    from_: Annotated[StrictStr, Field(alias="from")] = ""
    """The region it comes from."""
    to: StrictStr = ""
    """The region it goes to."""


class LocalityLoadBalancing(StrictPart):
    """Regard for where client and endpoints stand; replaces that of the mesh as a whole."""

    distribute: tuple[Distribute, ...] = ()
    """Shares by locality; not together with failover and failoverPriority."""
    failover: tuple[Failover, ...] = ()
    """Order of regions; needs outlier detection."""
    failover_priority: Texts = ()
    """Labels, or LABEL=VALUE, in order: the more an endpoint shares with the client, the sooner it is used."""
    enabled: Flag = None
    """Whether it is in force; true if absent."""


class ZoneAwareLoadBalancing(StrictPart):
    """Envoy's zone-aware routing; replaces that of the mesh as a whole. Not in force in ambient mode."""

    enabled: Flag = None
    """Whether it is in force."""
    failover: tuple[Failover, ...] = ()
    """Order of regions; needs outlier detection."""
    failover_priority: Texts = ()
    """Labels in order: the more an endpoint shares with the client, the sooner it is used."""
    min_cluster_size: Nullable[Annotated[StrictInt, Field(ge=1, le=2**32 - 1)]] = None
    """Fewest endpoints in the region for it to be in force; 6 if absent."""


class Warmup(StrictPart):
    """More and more traffic for an endpoint that is new; with ROUND_ROBIN and LEAST_REQUEST only."""

    duration: Duration
    """How long an endpoint is new."""
    minimum_percent: Nullable[PercentDouble] = None
    """Share that it starts with, in per cent of its weight; 10 if absent."""
    aggression: Nullable[Annotated[Double, Field(ge=0)]] = None
    """Shape of the increase; 1.0, which is linear, if absent."""


class LoadBalancer(StrictPart):
    """How an endpoint is chosen."""

    one_ofs = (
        OneOf(("simple", "consistentHash")),
        OneOf(("localityLbSetting", "zoneAwareLbSetting")),
        OneOf(("warmupDurationSecs", "warmup")),
    )

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None = None
    """The algorithm; LEAST_REQUEST if absent or UNSPECIFIED. LEAST_CONN is deprecated and means the same."""
    consistent_hash: ConsistentHash | None = None
    """Choose by a hash of something in the request."""
    locality_lb_setting: LocalityLoadBalancing | None = None
    """Regard for localities; as the mesh says if absent."""
    warmup_duration_secs: Duration | None = None
    """Deprecated: see warmup."""
    warmup: Warmup | None = None
    """Less traffic for new endpoints at first."""
    zone_aware_lb_setting: ZoneAwareLoadBalancing | None = None
    """Envoy's zone-aware routing."""
