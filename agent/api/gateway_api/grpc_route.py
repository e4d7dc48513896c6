"""GRPCRoute."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from agent.api.gateway_api.fields import AnyHeaderValue, HeaderName, Hostname, SectionName, items, unique
from agent.api.gateway_api.filters import GrpcFilters
from agent.api.gateway_api.objects import gateway_api
from agent.api.gateway_api.references import WeightedBackend
from agent.api.gateway_api.routes import Route, RouteSpec, SessionPersistence, check_match_count, check_rule_names
from agent.api.strict import StrictPart

_SERVICE = re.compile(r"\.?[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*", re.IGNORECASE | re.ASCII)
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class MethodMatch(StrictPart):
    """A gRPC service, a method, or both; an absent one is any."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: Annotated[StrictStr, Field(max_length=1024)] | None = None
    method: Annotated[StrictStr, Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.service is None and self.method is None:
            raise ValueError("accepted is at least one of service and method")
        if self.type == "Exact" and self.service is not None and not _SERVICE.fullmatch(self.service):
            raise ValueError("service: accepted are letters, digits, '_' and '.' with type Exact")
        if self.type == "Exact" and self.method is not None and not _METHOD.fullmatch(self.method):
            raise ValueError("method: accepted are letters, digits and '_' with type Exact")
        return self


class GrpcHeaderMatch(StrictPart):
    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: AnyHeaderValue


def _name(match: GrpcHeaderMatch) -> str:
    return match.name


class GrpcMatch(StrictPart):
    """A call that all of its parts hold for."""

    method: MethodMatch | None = None
    headers: Annotated[tuple[GrpcHeaderMatch, ...], items(16), unique(_name, "header")] = ()


class GrpcBackend(WeightedBackend):
    filters: GrpcFilters = ()


class GrpcRule(StrictPart):
    """What becomes of a call that one of its matches, if it has any, holds for."""

    name: SectionName = ""
    matches: Annotated[tuple[GrpcMatch, ...], items(64)] = ()
    filters: GrpcFilters = ()
    backend_refs: Annotated[tuple[GrpcBackend, ...], items(16)] = ()
    session_persistence: SessionPersistence | None = None


def _check_rules(rules: tuple[GrpcRule, ...]) -> tuple[GrpcRule, ...]:
    check_match_count(rules)
    check_rule_names(rules)
    return rules


class GrpcRouteSpec(RouteSpec):
    hostnames: Annotated[tuple[Hostname, ...], items(16)] = ()
    rules: Annotated[tuple[GrpcRule, ...], items(16), AfterValidator(_check_rules)] = ()


class GRPCRoute(Route):
    """Where gRPC calls go, by host, service, method and headers."""

    facts = gateway_api("grpcroutes", "v1")

    spec: GrpcRouteSpec
