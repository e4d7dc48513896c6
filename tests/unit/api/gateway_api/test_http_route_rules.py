"""HTTPRoute: each rule broken, and each nearly."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.gateway_api.http_route import HTTPRoute
from agent.api.kubernetes import parse
from tests.support.gateway_objects import Object, a_path, an_http_route, faults_of, with_filters

BACKEND = {"name": "a", "port": 80}
REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"port": 443}}
REWRITE = {"type": "URLRewrite", "urlRewrite": {"hostname": "a.b"}}
SET = {"set": [{"name": "x", "value": "y"}]}
EXTENSION = {"type": "ExtensionRef", "extensionRef": {"group": "a.b", "kind": "C", "name": "d"}}
PREFIX = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}}
EXACT = {"path": {"type": "Exact", "value": "/a"}}


def redirect(**given: Any) -> Object:
    return {"type": "RequestRedirect", "requestRedirect": given}


def rewrite(**given: Any) -> Object:
    return {"type": "URLRewrite", "urlRewrite": given}


def mirror(**given: Any) -> Object:
    return {"type": "RequestMirror", "requestMirror": {"backendRef": BACKEND, **given}}


def modifier(direction: str, **given: Any) -> Object:
    return {"type": f"{direction}HeaderModifier", f"{direction.lower()}HeaderModifier": given}


def cors(**given: Any) -> Object:
    return {"type": "CORS", "cors": given}


def auth(**given: Any) -> Object:
    return {"type": "ExternalAuth", "externalAuth": {"backendRef": BACKEND, **given}}


def to(*backends: Object) -> Object:
    return an_http_route({"backendRefs": list(backends)})


def parents(*given: Object) -> Object:
    return an_http_route(parentRefs=list(given))


def session(**given: Any) -> Object:
    return an_http_route({"sessionPersistence": given})


def matches(*counts: int) -> Object:
    return an_http_route(*({"matches": [{"path": {"value": f"/{i}"}} for i in range(count)]} for count in counts))


RULE, FILTERS, FILTER = "spec.rules[0]", "spec.rules[0].filters", "spec.rules[0].filters[0]"
PATH = f"{RULE}.matches[0].path"
ONE_PREFIX = "accepted is exactly one, of type PathPrefix"

PATHS = {
    "without a slash": (a_path("a"), PATH, "a path that starts with '/'"),
    "two slashes": (a_path("/a//b"), PATH, "'//' is not accepted"),
    "a dot": (a_path("/a/./b"), PATH, "'/./' is not accepted"),
    "two dots": (a_path("/a/../b"), PATH, "'/../' is not accepted"),
    "an escaped slash": (a_path("/a%2fb"), PATH, "'%2f' is not accepted"),
    "an Escaped slash": (a_path("/a%2Fb"), PATH, "'%2F' is not accepted"),
    "a fragment": (a_path("/a#b"), PATH, "'#' is not accepted"),
    "two dots at the end": (a_path("/a/.."), PATH, "'/..' is not accepted at the end"),
    "a dot at the end": (a_path("/a/."), PATH, "'/.' is not accepted at the end"),
    "a blank": (a_path("/a b"), PATH, "the characters of a URL's path"),
    "half an escape": (a_path("/a%2"), PATH, "the characters of a URL's path"),
    "an exact one too": (a_path("/a//b", "Exact"), PATH, "with type Exact"),
    "an unknown type": (
        a_path("/a", "Glob"),
        f"{PATH}.type",
        "accepted is 'Exact', 'PathPrefix' or 'RegularExpression'",
    ),
    "a long one": (a_path("/" + "a" * 1024), f"{PATH}.value", "at most 1024"),
}
FILTER_KINDS = {
    "redirect and rewrite": (
        with_filters(REDIRECT, REWRITE),
        FILTERS,
        "accepted is one of RequestRedirect and URLRewrite",
    ),
    "two redirects": (with_filters(REDIRECT, REDIRECT), FILTERS, "RequestRedirect is there 2 times"),
    "two rewrites": (with_filters(REWRITE, REWRITE), FILTERS, "URLRewrite is there 2 times"),
    "two CORS": (with_filters(cors(), cors()), FILTERS, "CORS is there 2 times"),
    "two of requests": (
        with_filters(*[modifier("Request", **SET)] * 2),
        FILTERS,
        "RequestHeaderModifier is there 2 times",
    ),
    "two of responses": (
        with_filters(*[modifier("Response", **SET)] * 2),
        FILTERS,
        "ResponseHeaderModifier is there 2 times",
    ),
    "a backend's, twice": (
        to({**BACKEND, "filters": [cors(), cors()]}),
        f"{RULE}.backendRefs[0].filters",
        "CORS is there 2 times",
    ),
    **{
        f"{type} without settings": (with_filters({"type": type}), FILTER, f"{field}: accepted with type {type}")
        for type, field in (
            ("RequestHeaderModifier", "requestHeaderModifier"),
            ("ResponseHeaderModifier", "responseHeaderModifier"),
            ("RequestMirror", "requestMirror"),
            ("RequestRedirect", "requestRedirect"),
            ("URLRewrite", "urlRewrite"),
            ("ExtensionRef", "extensionRef"),
            ("CORS", "cors"),
            ("ExternalAuth", "externalAuth"),
        )
    },
    **{
        f"settings of {other['type']} too": (
            with_filters({**other, **base}),
            FILTER,
            f"accepted with type {other['type']}, which needs it, and no other",
        )
        for base, other in (
            (cors(), modifier("Request", **SET)),
            (cors(), modifier("Response", **SET)),
            (cors(), mirror()),
            (cors(), REDIRECT),
            (cors(), REWRITE),
            (cors(), EXTENSION),
            (cors(), auth(protocol="GRPC", grpc={})),
            (EXTENSION, cors()),
        )
    },
}
FILTER_SETTINGS = {
    "a star among origins": (
        with_filters(cors(allowOrigins=["*", "https://a.b"])),
        f"{FILTER}.cors.allowOrigins",
        "'*' alone",
    ),
    "a star among methods": (with_filters(cors(allowMethods=["*", "GET"])), f"{FILTER}.cors.allowMethods", "'*' alone"),
    "a star among headers": (with_filters(cors(allowHeaders=["*", "x"])), f"{FILTER}.cors.allowHeaders", "'*' alone"),
    "a header twice": (
        with_filters(cors(exposeHeaders=["x", "x"])),
        f"{FILTER}.cors.exposeHeaders",
        "'x' is there 2 times",
    ),
    "an origin without a scheme": (
        with_filters(cors(allowOrigins=["a.b"])),
        f"{FILTER}.cors.allowOrigins[0]",
        "accepted is '*', or SCHEME://HOST",
    ),
    "a header set twice": (
        with_filters(modifier("Request", set=[{"name": "x", "value": "1"}, {"name": "x", "value": "2"}])),
        f"{FILTER}.requestHeaderModifier.set",
        "header 'x' is there 2 times",
    ),
    "a header with a line feed": (
        with_filters(modifier("Request", set=[{"name": "x", "value": "1\n"}])),
        f"{FILTER}.requestHeaderModifier.set[0].value",
        "visible ASCII",
    ),
    "a share said twice": (
        with_filters(mirror(percent=5, fraction={"numerator": 1})),
        f"{FILTER}.requestMirror",
        "one of percent and fraction",
    ),
    "more than everything": (
        with_filters(mirror(fraction={"numerator": 101})),
        f"{FILTER}.requestMirror.fraction",
        "at most the denominator",
    ),
    "a mirror without a port": (
        with_filters({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}}}),
        f"{FILTER}.requestMirror.backendRef",
        "port: missing; a Service needs it",
    ),
    "no full path": (
        with_filters(redirect(path={"type": "ReplaceFullPath"})),
        f"{FILTER}.requestRedirect.path",
        "replaceFullPath: accepted with type ReplaceFullPath",
    ),
    "a full path too": (
        with_filters(redirect(path={**PREFIX["path"], "replaceFullPath": "/"})),
        f"{FILTER}.requestRedirect.path",
        "replaceFullPath: accepted with type ReplaceFullPath",
    ),
    "no prefix": (
        with_filters(rewrite(path={"type": "ReplacePrefixMatch"})),
        f"{FILTER}.urlRewrite.path",
        "replacePrefixMatch: accepted with type ReplacePrefixMatch",
    ),
    "a prefix too": (
        with_filters(rewrite(path={"type": "ReplaceFullPath", "replaceFullPath": "/", "replacePrefixMatch": "/"})),
        f"{FILTER}.urlRewrite.path",
        "replacePrefixMatch: accepted with type ReplacePrefixMatch",
    ),
    "a status that is no redirect": (
        with_filters(redirect(statusCode=304)),
        f"{FILTER}.requestRedirect.statusCode",
        "accepted is 301, 302, 303, 307 or 308",
    ),
    "gRPC without settings": (
        with_filters(auth(protocol="GRPC")),
        f"{FILTER}.externalAuth",
        "grpc: accepted with protocol GRPC",
    ),
    "HTTP without settings": (
        with_filters(auth(protocol="HTTP")),
        f"{FILTER}.externalAuth",
        "http: accepted with protocol HTTP",
    ),
    "settings of HTTP with gRPC": (
        with_filters(auth(protocol="GRPC", grpc={}, http={})),
        f"{FILTER}.externalAuth",
        "http: accepted with protocol HTTP",
    ),
    "settings of gRPC with HTTP": (
        with_filters(auth(protocol="HTTP", grpc={}, http={})),
        f"{FILTER}.externalAuth",
        "grpc: accepted with protocol GRPC",
    ),
}
RULES = {
    "a redirect and backends": (
        an_http_route({"filters": [REDIRECT], "backendRefs": [BACKEND]}),
        RULE,
        "backendRefs: not accepted beside the filter RequestRedirect",
    ),
    "a redirected prefix of an exact match": (
        an_http_route({"matches": [EXACT], "filters": [redirect(**PREFIX)]}),
        RULE,
        ONE_PREFIX,
    ),
    "a rewritten prefix of two matches": (
        an_http_route({"matches": [{}, {}], "filters": [rewrite(**PREFIX)]}),
        RULE,
        ONE_PREFIX,
    ),
    "a backend's redirected prefix of an exact match": (
        an_http_route({"matches": [EXACT], "backendRefs": [{**BACKEND, "filters": [redirect(**PREFIX)]}]}),
        RULE,
        ONE_PREFIX,
    ),
    "a backend's rewritten prefix of no match": (
        an_http_route({"matches": [], "backendRefs": [{**BACKEND, "filters": [rewrite(**PREFIX)]}]}),
        RULE,
        ONE_PREFIX,
    ),
    "129 matches": (matches(64, 64, 1), "spec.rules", "there are 129 matches; accepted are 128"),
    "a name twice": (an_http_route({"name": "a"}, {"name": "a"}), "spec.rules", "rule name 'a' is there 2 times"),
    "17 rules": (an_http_route(*[{}] * 17), "spec.rules", "there are 17; accepted are 1 to 16"),
    "no rules": (an_http_route(rules=[]), "spec.rules", "there are 0; accepted are 1 to 16"),
    "a header matched twice": (
        an_http_route({"matches": [{"headers": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]}]}),
        f"{RULE}.matches[0].headers",
        "header 'x' is there 2 times",
    ),
    "a parameter matched twice": (
        an_http_route({"matches": [{"queryParams": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]}]}),
        f"{RULE}.matches[0].queryParams",
        "parameter 'x' is there 2 times",
    ),
    "a service without a port": (to({"name": "a"}), f"{RULE}.backendRefs[0]", "port: missing; a Service needs it"),
    "a weight below nothing": (
        to({**BACKEND, "weight": -1}),
        f"{RULE}.backendRefs[0].weight",
        "greater than or equal to 0",
    ),
    "a backend that takes longer": (
        an_http_route({"timeouts": {"request": "1s", "backendRequest": "1s1ms"}}),
        f"{RULE}.timeouts",
        "backendRequest: accepted is at most the timeout of the request",
    ),
    "a fraction of a second": (
        an_http_route({"timeouts": {"request": "1.5s"}}),
        f"{RULE}.timeouts.request",
        "accepted is a duration such as 1m30s or 500ms",
    ),
    "a retried success": (
        an_http_route({"retry": {"codes": [200]}}),
        f"{RULE}.retry.codes[0]",
        "greater than or equal to 400",
    ),
    "a code twice": (
        an_http_route({"retry": {"codes": [503, 503]}}),
        f"{RULE}.retry.codes",
        "value 503 is there 2 times",
    ),
    "a lasting cookie without an end": (
        session(cookieConfig={"lifetimeType": "Permanent"}),
        f"{RULE}.sessionPersistence",
        "absoluteTimeout: missing",
    ),
    "a header with a cookie": (
        session(type="Header", cookieConfig={}),
        f"{RULE}.sessionPersistence",
        "cookieConfig: accepted with type Cookie only",
    ),
    "a parent twice": (
        parents({"name": "a"}, {"name": "a"}),
        "spec.parentRefs",
        "Gateway a is there 2 times; accepted is another",
    ),
    "a section and the whole": (
        parents({"name": "a"}, {"name": "a", "sectionName": "b"}),
        "spec.parentRefs",
        "accepted is sectionName or port in all of them",
    ),
    "a section and a port": (
        parents({"name": "a", "port": 80}, {"name": "a", "sectionName": "b"}),
        "spec.parentRefs",
        "accepted is sectionName or port in all of them",
    ),
    "a section twice": (
        parents(*[{"name": "a", "sectionName": "b"}] * 2),
        "spec.parentRefs",
        "accepted is another sectionName or port in each",
    ),
}
REFUSED = {**PATHS, **FILTER_KINDS, **FILTER_SETTINGS, **RULES}
ACCEPTED = {
    "the shortest": an_http_route(),
    "dots in a name": a_path("/a..b/...c"),
    "an escape": a_path("/a%20b"),
    "a slash at the end": a_path("/a/"),
    "a regex of anything": a_path("a//b#[", "RegularExpression"),
    "a rewrite and modifiers": with_filters(REWRITE, modifier("Request", **SET), modifier("Response", **SET)),
    "two mirrors": with_filters(mirror(), mirror(percent=5)),
    "two extensions": with_filters(EXTENSION, EXTENSION),
    "all of it": with_filters(mirror(fraction={"numerator": 100})),
    "a star alone": with_filters(cors(allowOrigins=["*"], allowMethods=["*"], allowHeaders=["*"])),
    "a star among exposed headers": with_filters(cors(exposeHeaders=["*", "x"])),
    "origins with wildcards": with_filters(cors(allowOrigins=["https://*.a.b:8443", "http://*"])),
    "a header in two cases": with_filters(
        modifier("Request", set=[{"name": "x", "value": "1"}, {"name": "X", "value": "2"}])
    ),
    "an empty prefix": an_http_route(
        {"filters": [rewrite(path={"type": "ReplacePrefixMatch", "replacePrefixMatch": ""})]}
    ),
    "gRPC": with_filters(auth(protocol="GRPC", grpc={})),
    "HTTP": with_filters(auth(protocol="HTTP", http={"path": "/a"}, forwardBody={"maxSize": 100})),
    "a redirect and no backends": an_http_route({"filters": [REDIRECT], "backendRefs": []}),
    "a backend's redirect": to({**BACKEND, "filters": [REDIRECT]}),
    "a rewritten prefix": an_http_route({"filters": [rewrite(**PREFIX)]}),
    "a full path of two matches": an_http_route(
        {"matches": [EXACT, EXACT], "filters": [redirect(path={"type": "ReplaceFullPath", "replaceFullPath": "/"})]}
    ),
    "128 matches": matches(64, 64),
    "rules without names": an_http_route({}, {}),
    "a backend of another kind": to({"group": "a.b", "kind": "Service", "name": "c"}),
    "no timeout of the request": an_http_route({"timeouts": {"request": "0s", "backendRequest": "1h"}}),
    "the same timeout": an_http_route({"timeouts": {"request": "1m", "backendRequest": "60000ms"}}),
    "a lasting cookie": session(absoluteTimeout="24h", cookieConfig={"lifetimeType": "Permanent"}),
    "a header": session(type="Header"),
    "two parents": parents(
        {"name": "a"}, {"name": "b"}, {"name": "a", "namespace": "b"}, {"name": "a", "kind": "Service", "group": ""}
    ),
    "two sections": parents({"name": "a", "sectionName": "b"}, {"name": "a", "sectionName": "c"}),
    "two ports": parents({"name": "a", "port": 80}, {"name": "a", "port": 81}),
    "a section with two ports": parents(*({"name": "a", "sectionName": "b", "port": port} for port in (80, 81))),
}


@pytest.mark.parametrize(("given", "field", "says"), REFUSED.values(), ids=REFUSED)
def test_what_the_crd_refuses_is_refused_with_field_and_reason(given: Object, field: str, says: str) -> None:
    faults = faults_of(given)
    assert list(faults) == [field]
    assert says in faults[field]


@pytest.mark.parametrize("given", ACCEPTED.values(), ids=ACCEPTED)
def test_what_only_nearly_breaks_a_rule_is_read(given: Object) -> None:
    assert parse(given, "f").metadata.name == "it"


def test_a_route_without_rules_matches_everything_and_has_the_defaults_of_the_crd() -> None:
    route = parse(an_http_route(), "f")
    assert isinstance(route, HTTPRoute)
    (rule,) = route.spec.rules
    (match,) = rule.matches
    assert (match.path.type, match.path.value, match.headers, match.method) == ("PathPrefix", "/", (), None)
    (parent,) = route.spec.parent_refs
    assert (parent.group, parent.kind) == ("gateway.networking.k8s.io", "Gateway")


def test_a_match_of_headers_alone_is_for_every_path() -> None:
    route = parse(an_http_route({"matches": [{"headers": [{"name": "x", "value": "y"}]}]}), "f")
    assert isinstance(route, HTTPRoute)
    (match,) = route.spec.rules[0].matches
    assert (match.path.value, match.headers[0].type) == ("/", "Exact")


def test_null_is_absent_as_to_an_api_server() -> None:
    route = parse(an_http_route({"matches": None, "filters": None, "name": None}), "f")
    assert isinstance(route, HTTPRoute)
    assert len(route.spec.rules[0].matches) == 1
