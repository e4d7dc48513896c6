"""HTTPRoute."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from agent.api.gateway_api.fields import (
    Duration,
    HeaderName,
    HeaderValue,
    Hostname,
    SectionName,
    duration_milliseconds,
    each_once,
    is_http_path,
    items,
    unique,
)
from agent.api.gateway_api.filters import HttpFilters, Method
from agent.api.gateway_api.objects import gateway_api
from agent.api.gateway_api.references import WeightedBackend
from agent.api.gateway_api.routes import Route, RouteSpec, SessionPersistence, check_match_count, check_rule_names
from agent.api.strict import StrictPart

# What a path could be normalized to is not what its author reads, so none of these is accepted.
_NOT_IN_A_PATH: Final = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_ITS_END: Final = ("/..", "/.")
_Comparison = Literal["Exact", "RegularExpression"]


class PathMatch(StrictPart):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[StrictStr, Field(max_length=1024)] = "/"

    @model_validator(mode="after")
    def _is_a_plain_path(self) -> Self:
        path = self.value
        if self.type == "RegularExpression" or path == "/":
            return self
        if not path.startswith("/"):
            raise ValueError(f"value: accepted is a path that starts with '/' with type {self.type}")
        for part in _NOT_IN_A_PATH:
            if part in path:
                raise ValueError(f"value: {part!r} is not accepted with type {self.type}")
        for end in _NOT_AT_ITS_END:
            if path.endswith(end):
                raise ValueError(f"value: {end!r} is not accepted at the end with type {self.type}")
        if not is_http_path(path):
            raise ValueError(f"value: accepted are the characters of a URL's path with type {self.type}")
        return self


class HeaderMatch(StrictPart):
    type: _Comparison = "Exact"
    name: HeaderName
    value: HeaderValue


class QueryParamMatch(StrictPart):
    type: _Comparison = "Exact"
    name: HeaderName
    value: Annotated[StrictStr, Field(min_length=1, max_length=1024)]


def _name(match: HeaderMatch | QueryParamMatch) -> str:
    return match.name


class HttpMatch(StrictPart):
    """A request that all of its parts hold for."""

    path: PathMatch = PathMatch()
    headers: Annotated[tuple[HeaderMatch, ...], items(16), unique(_name, "header")] = ()
    query_params: Annotated[tuple[QueryParamMatch, ...], items(16), unique(_name, "parameter")] = ()
    method: Method | None = None


class HttpBackend(WeightedBackend):
    filters: HttpFilters = ()


class HttpTimeouts(StrictPart):
    """ "0s" means no timeout."""

    request: Duration = ""
    backend_request: Duration = ""

    @model_validator(mode="after")
    def _backend_fits_the_request(self) -> Self:
        whole, each = duration_milliseconds(self.request), duration_milliseconds(self.backend_request)
        if whole and each > whole:
            raise ValueError("backendRequest: accepted is at most the timeout of the request")
        return self


class HttpRetry(StrictPart):
    codes: Annotated[tuple[Annotated[StrictInt, Field(ge=400, le=599)], ...], each_once] = ()
    attempts: Annotated[StrictInt, Field(ge=1)] | None = None
    backoff: Duration = ""


class HttpRule(StrictPart):
    """What becomes of a request that one of its matches holds for."""

    name: SectionName = ""
    matches: Annotated[tuple[HttpMatch, ...], items(64)] = (HttpMatch(),)
    filters: HttpFilters = ()
    backend_refs: Annotated[tuple[HttpBackend, ...], items(16)] = ()
    timeouts: HttpTimeouts | None = None
    retry: HttpRetry | None = None
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _filters_suit_the_rule(self) -> Self:
        if self.backend_refs and any(filter.request_redirect for filter in self.filters):
            raise ValueError("backendRefs: not accepted beside the filter RequestRedirect")
        filters = (*self.filters, *(filter for backend in self.backend_refs for filter in backend.filters))
        if any(filter.replaces_prefix for filter in filters) and not self._is_one_prefix:
            raise ValueError("matches: accepted is exactly one, of type PathPrefix, with replacePrefixMatch")
        return self

    @property
    def _is_one_prefix(self) -> bool:
        return len(self.matches) == 1 and self.matches[0].path.type == "PathPrefix"


def _check_rules(rules: tuple[HttpRule, ...]) -> tuple[HttpRule, ...]:
    check_match_count(rules)
    check_rule_names(rules)
    return rules


class HttpRouteSpec(RouteSpec):
    hostnames: Annotated[tuple[Hostname, ...], items(16)] = ()
    rules: Annotated[tuple[HttpRule, ...], items(16, least=1), AfterValidator(_check_rules)] = (HttpRule(),)


class HTTPRoute(Route):
    """Where HTTP requests go, by host, path, headers, parameters and method."""

    facts = gateway_api("httproutes", "v1", "v1beta1")

    spec: HttpRouteSpec
