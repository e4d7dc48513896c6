"""What a route does to a request or response on its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from agent.api.gateway_api.fields import (
    HeaderName,
    HeaderValue,
    HttpPath,
    PortNumber,
    PreciseHostname,
    each_once,
    items,
    matching,
    star_alone,
    unique,
)
from agent.api.gateway_api.references import BackendReference, LocalReference
from agent.api.strict import StrictPart

_OF_EVERY_ROUTE: Final = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "ExtensionRef": "extension_ref",
}
_OF_HTTP: Final = {
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
    "ExternalAuth": "external_auth",
}
_NOT_REPEATED: Final = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS")
_ORIGIN = r"\*|https?://(?:(?:\*\.)?(?:[a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(?::[0-9]{1,5})?"

Origin = Annotated[StrictStr, matching(_ORIGIN, "'*', or SCHEME://HOST[:PORT] with http or https")]
Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


class Header(StrictPart):
    name: HeaderName
    value: HeaderValue


def _name(header: Header) -> str:
    return header.name


Headers = Annotated[tuple[Header, ...], items(16), unique(_name, "header")]


class HeaderModifier(StrictPart):
    set: Headers = ()
    add: Headers = ()
    remove: Annotated[tuple[StrictStr, ...], items(16), each_once] = ()


class PathModifier(StrictPart):
    """A new path: a whole one, or one in place of the prefix that the route matched."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[StrictStr, Field(max_length=1024)] | None = None
    replace_prefix_match: Annotated[StrictStr, Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _has_the_path_of_its_type(self) -> Self:
        if (self.type == "ReplaceFullPath") != (self.replace_full_path is not None):
            raise ValueError("replaceFullPath: accepted with type ReplaceFullPath, which needs it, and no other")
        if (self.type == "ReplacePrefixMatch") != (self.replace_prefix_match is not None):
            raise ValueError("replacePrefixMatch: accepted with type ReplacePrefixMatch, which needs it, and no other")
        return self


class RequestRedirect(StrictPart):
    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname = ""
    path: PathModifier | None = None
    port: PortNumber | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class UrlRewrite(StrictPart):
    hostname: PreciseHostname = ""
    path: PathModifier | None = None


class Fraction(StrictPart):
    numerator: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
    denominator: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] = 100

    @model_validator(mode="after")
    def _is_at_most_one(self) -> Self:
        if self.numerator > self.denominator:
            raise ValueError("numerator: accepted is at most the denominator")
        return self


class RequestMirror(StrictPart):
    """A copy of the request, or of that part of all requests, whose answer nobody reads."""

    backend_ref: BackendReference
    percent: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _share_is_said_once(self) -> Self:
        if self.percent is not None and self.fraction is not None:
            raise ValueError("accepted is one of percent and fraction")
        return self


class Cors(StrictPart):
    allow_origins: Annotated[tuple[Origin, ...], items(64), each_once, star_alone] = ()
    allow_credentials: StrictBool = False
    allow_methods: Annotated[tuple[Method | Literal["*"], ...], items(9), each_once, star_alone] = ()
    allow_headers: Annotated[tuple[HeaderName, ...], items(64), each_once, star_alone] = ()
    expose_headers: Annotated[tuple[HeaderName, ...], items(64), each_once] = ()
    max_age: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] = 5


class GrpcAuth(StrictPart):
    allowed_headers: Annotated[tuple[StrictStr, ...], items(64), each_once] = ()


class HttpAuth(StrictPart):
    path: HttpPath = ""
    allowed_headers: Annotated[tuple[StrictStr, ...], items(64), each_once] = ()
    allowed_response_headers: Annotated[tuple[StrictStr, ...], items(64), each_once] = ()


class ForwardBody(StrictPart):
    """max_size: bytes of the request's body that the authorizer sees; 0 is none."""

    max_size: Annotated[StrictInt, Field(ge=0, le=65535)] = 0


class ExternalAuth(StrictPart):
    """A service that is asked whether the request may pass."""

    protocol: Literal["HTTP", "GRPC"]
    backend_ref: BackendReference
    grpc: GrpcAuth | None = None
    http: HttpAuth | None = None
    forward_body: ForwardBody | None = None

    @model_validator(mode="after")
    def _has_the_settings_of_its_protocol(self) -> Self:
        for protocol, settings in (("GRPC", self.grpc), ("HTTP", self.http)):
            if (self.protocol == protocol) != (settings is not None):
                field = protocol.lower()
                raise ValueError(f"{field}: accepted with protocol {protocol}, which needs it, and no other")
        return self


class _Filter(StrictPart):
    """Exactly the settings that its type names."""

    _settings: ClassVar[Mapping[str, str]]  # by type: the field

    type: str
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: LocalReference | None = None

    @model_validator(mode="after")
    def _has_the_settings_of_its_type(self) -> Self:
        for type, field in self._settings.items():
            if (self.type == type) != (getattr(self, field) is not None):
                name = self.__class__.model_fields[field].alias
                raise ValueError(f"{name}: accepted with type {type}, which needs it, and no other")
        return self


class GrpcFilter(_Filter):
    _settings: ClassVar[Mapping[str, str]] = _OF_EVERY_ROUTE

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]


class HttpFilter(_Filter):
    _settings: ClassVar[Mapping[str, str]] = {**_OF_EVERY_ROUTE, **_OF_HTTP}

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "ExtensionRef",
        "CORS",
        "ExternalAuth",
    ]
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    external_auth: ExternalAuth | None = None

    @property
    def replaces_prefix(self) -> bool:
        """Whether it puts another prefix where the one that was matched is."""
        path = (self.request_redirect or self.url_rewrite or _NO_PATH).path
        return path is not None and path.type == "ReplacePrefixMatch"


def _at_most_one_each(filters: tuple[_Filter, ...]) -> tuple[_Filter, ...]:
    types = [filter.type for filter in filters]
    for type in _NOT_REPEATED:
        if types.count(type) > 1:
            raise ValueError(f"{type} is there {types.count(type)} times; accepted is once")
    if "RequestRedirect" in types and "URLRewrite" in types:
        raise ValueError("accepted is one of RequestRedirect and URLRewrite")
    return filters


_NO_PATH: Final = UrlRewrite()

HttpFilters = Annotated[tuple[HttpFilter, ...], items(16), AfterValidator(_at_most_one_each)]
GrpcFilters = Annotated[tuple[GrpcFilter, ...], items(16), AfterValidator(_at_most_one_each)]
