"""What all routes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, StrictStr, model_validator

from agent.api.gateway_api.fields import Duration
from agent.api.gateway_api.objects import GROUP, Condition, GatewayObject
from agent.api.gateway_api.references import ParentReferences
from agent.api.objects import Part
from agent.api.strict import StrictPart

MOST_MATCHES = 128  # in all rules of a route together; each rule may have 64


class RouteSpec(StrictPart):
    parent_refs: ParentReferences = ()
    use_default_gateways: Literal["All", "None"] | None = None


class ParentOfStatus(Part):
    """A parent as a status names it; whose values somebody else has checked."""

    group: StrictStr = GROUP
    kind: StrictStr = "Gateway"
    namespace: StrictStr = ""
    name: StrictStr
    section_name: StrictStr = ""
    port: int | None = None


class RouteParentStatus(Part):
    """What one controller says of a route's attachment to one parent."""

    parent_ref: ParentOfStatus
    controller_name: StrictStr
    conditions: tuple[Condition, ...] = ()


class RouteStatus(Part):
    parents: tuple[RouteParentStatus, ...] = ()


class Route(GatewayObject):
    status: RouteStatus = RouteStatus()


class CookieConfig(StrictPart):
    lifetime_type: Literal["Permanent", "Session"] = "Session"


class SessionPersistence(StrictPart):
    """Requests of one session go to one backend, by a cookie or a header."""

    session_name: Annotated[StrictStr, Field(max_length=128)] = ""
    absolute_timeout: Duration = ""
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: CookieConfig | None = None

    @model_validator(mode="after")
    def _cookie_is_whole(self) -> Self:
        if self.cookie_config is None:
            return self
        if self.type != "Cookie":
            raise ValueError("cookieConfig: accepted with type Cookie only")
        if self.cookie_config.lifetime_type == "Permanent" and not self.absolute_timeout:
            raise ValueError("absoluteTimeout: missing; a cookie with lifetimeType Permanent needs it")
        return self


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _Matching(Protocol):
    @property
    def matches(self) -> Sequence[object]: ...


def check_rule_names(rules: Sequence[_Named]) -> None:
    """ValueError when two rules have the same name; those without one are not compared."""
    names = [rule.name for rule in rules if rule.name]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"rule name {name!r} is there {names.count(name)} times; accepted is once")


def check_match_count(rules: Sequence[_Matching]) -> None:
    """ValueError when the rules together have more matches than a route may."""
    count = sum(len(rule.matches) for rule in rules)
    if count > MOST_MATCHES:
        raise ValueError(f"there are {count} matches; accepted are {MOST_MATCHES} in all rules together")
