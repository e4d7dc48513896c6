"""What is said of VirtualServices that can be read and make no sense, and of those that nearly make none."""

from __future__ import annotations

import pytest

from tests.support.validation import errors, warnings

KIND = "networking.istio.io/v1/VirtualService"
ROUTE = "[{destination: {host: reviews}}]"


def with_route(route: str, **others: str) -> str:
    """A VirtualService with one HTTP route."""
    fields = {"hosts": "[reviews]", "http": f"[{{{route}}}]", **others}
    return "\n".join(f"{field}: {value}" for field, value in fields.items() if value)


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("hosts: [reviews]", "spec", "no routes"),
        (with_route(f"route: {ROUTE}", hosts="[rev_iews]"), "spec.hosts[0]", "accepted is a DNS name"),
        (with_route(f"route: {ROUTE}", hosts="['*']"), "spec.hosts[0]", "of gateways only"),
        (with_route(f"route: {ROUTE}", hosts="[a.*.com]"), "spec.hosts[0]", "accepted is a DNS name"),
        (with_route(f"route: {ROUTE}", hosts="['*.b.com', a.b.com]"), "spec.hosts[1]", "covers"),
        (with_route(f"route: {ROUTE}", hosts="", gateways="[a/b]"), "spec.gateways", "without hosts"),
        (with_route(f"route: {ROUTE}", gateways="[a/B_]"), "spec.gateways[0]", "accepted is NAMESPACE/NAME"),
        (with_route(f"route: {ROUTE}", exportTo="['*', shop]"), "spec.exportTo[0]", "accepted is '*' alone"),
        (with_route(f"route: {ROUTE}", exportTo="['.', shop]"), "spec.exportTo[1]", "each namespace once"),
        (with_route(f"route: {ROUTE}", exportTo="['~']"), "spec.exportTo[0]", "a namespace's name"),
        (with_route("name: x"), "spec.http[0]", "read none"),
        (with_route(f"route: {ROUTE}, redirect: {{uri: /x}}"), "spec.http[0]", "read route and redirect"),
        (with_route("redirect: {uri: /x}, rewrite: {uri: /y}"), "spec.http[0].rewrite", "beside redirect"),
        (with_route("redirect: {}"), "spec.http[0].redirect", "empty"),
        (with_route("redirect: {uri: /x, redirectCode: 200}"), "spec.http[0].redirect.redirectCode", "300 to 399"),
        (with_route("redirect: {scheme: ftp}"), "spec.http[0].redirect.scheme", "http or https"),
        (with_route(f"route: {ROUTE}, timeout: 1.0001s"), "spec.http[0].timeout", "whole milliseconds"),
        (
            with_route(f"route: {ROUTE}, retries: {{attempts: 1, backoff: 1.0001s}}"),
            "spec.http[0].retries.backoff",
            "whole milliseconds",
        ),
        (
            with_route(f"route: {ROUTE}, retries: {{attempts: 1, retryOn: '5xx,'}}"),
            "spec.http[0].retries.retryOn",
            "read ''",
        ),
        (
            with_route(f"route: {ROUTE}, fault: {{delay: {{fixedDelay: 1.0001s}}}}"),
            "spec.http[0].fault.delay.fixedDelay",
            "whole milliseconds",
        ),
        (
            with_route("redirect: {prefixRewrite: /b}, match: [{uri: {exact: /a}}]"),
            "spec.http[0].redirect.prefixRewrite",
            "uri.prefix only",
        ),
        (
            with_route(f"route: {ROUTE}, match: [{{authority: {{prefix: ''}}}}]"),
            "spec.http[0].match[0].authority.prefix",
            "not empty",
        ),
        (
            with_route(f"route: {ROUTE}, match: [{{headers: {{a: {{regex: '*'}}}}}}]"),
            "spec.http[0].match[0].headers.a.regex",
            "RE2",
        ),
        (
            with_route(f"route: {ROUTE}, match: [{{headers: {{'@request.auth.claims.': {{exact: c}}}}}}]"),
            "spec.http[0].match[0].headers.@request.auth.claims.",
            "a header's name",
        ),
        (
            with_route(f"route: {ROUTE}, match: [{{headers: {{'@request.auth.claims.a': {{exact: c}}}}}}]", hosts=""),
            "spec.http[0].match[0].headers.@request.auth.claims.a",
            "of gateways only",
        ),
        (
            with_route(f"route: {ROUTE}, headers: {{request: {{set: {{a: '%START_TIME(%s%'}}}}}}"),
            "spec.http[0].headers.request.set.a",
            "doubled",
        ),
        (with_route(f"route: {ROUTE}", hosts="[a.1]"), "spec.hosts[0]", "the last label of which is no number"),
        (with_route(f"route: {ROUTE}", hosts="[\u017fhop]"), "spec.hosts[0]", "accepted is a DNS name"),
        (
            with_route(f"directResponse: {{status: 200, body: {{string: {'ä' * (2**19 + 1)}}}}}"),
            "spec.http[0].directResponse.body",
            "1048578 bytes",
        ),
        (with_route("directResponse: {status: 99}"), "spec.http[0].directResponse.status", "200 to 599"),
        (with_route("route: [{destination: {host: '*'}}]"), "spec.http[0].route[0].destination.host", "read '*'"),
        (
            with_route("route: [{destination: {host: a, subset: V_1}}]"),
            "spec.http[0].route[0].destination.subset",
            "a DNS label",
        ),
        (
            with_route("route: [{destination: {host: a}}, {destination: {host: b}}]"),
            "spec.http[0].route",
            "whose sum is 0",
        ),
        (with_route(f"route: {ROUTE}, match: [{{uri: {{regex: '['}}}}]"), "spec.http[0].match[0].uri.regex", "RE2"),
        (
            with_route(f"route: {ROUTE}, match: [{{uri: {{regex: 'a(?=b)'}}}}]"),
            "spec.http[0].match[0].uri.regex",
            "invalid perl operator",
        ),
        (
            with_route(f"route: {ROUTE}, match: [{{headers: {{'a b': {{exact: c}}}}}}]"),
            "spec.http[0].match[0].headers.a b",
            "a header's name",
        ),
        (
            with_route(f"route: {ROUTE}, match: [{{headers: {{'@request.auth.claims.sub': {{exact: c}}}}}}]"),
            "spec.http[0].match[0].headers.@request.auth.claims.sub",
            "of gateways only",
        ),
        (
            with_route(f"route: {ROUTE}, headers: {{response: {{set: {{Host: a}}}}}}"),
            "spec.http[0].headers.response.set.Host",
            "not Host",
        ),
        (
            with_route(f"route: {ROUTE}, headers: {{request: {{set: {{a: '50%'}}}}}}"),
            "spec.http[0].headers.request.set.a",
            "doubled",
        ),
        (
            with_route(f"route: {ROUTE}, rewrite: {{authority: a}}, headers: {{request: {{set: {{host: b}}}}}}"),
            "spec.http[0]",
            "more than once",
        ),
        (with_route(f"route: {ROUTE}, rewrite: {{}}"), "spec.http[0].rewrite", "empty"),
        (with_route(f"route: {ROUTE}, fault: {{}}"), "spec.http[0].fault", "empty"),
        (
            with_route(f"route: {ROUTE}, fault: {{abort: {{httpStatus: 700}}}}"),
            "spec.http[0].fault.abort.httpStatus",
            "200 to 599",
        ),
        (
            with_route(f"route: {ROUTE}, fault: {{abort: {{grpcStatus: AWAY}}}}"),
            "spec.http[0].fault.abort.grpcStatus",
            "UNAVAILABLE",
        ),
        (
            with_route(f"route: {ROUTE}, retries: {{attempts: 2, retryOn: '5xx,sometimes'}}"),
            "spec.http[0].retries.retryOn",
            "read 'sometimes'",
        ),
        (
            with_route(f"route: {ROUTE}, retries: {{retryOn: 5xx}}"),
            "spec.http[0].retries.attempts",
            "switches retries off",
        ),
        (
            with_route(f"route: {ROUTE}, corsPolicy: {{allowMethods: [get]}}"),
            "spec.http[0].corsPolicy.allowMethods[0]",
            "GET",
        ),
        (
            with_route("delegate: {name: other}", hosts="", gateways=""),
            "spec.http[0].delegate",
            "delegated to itself",
        ),
        ("hosts: [a]\ntcp: [{match: [{port: 1}]}]", "spec.tcp[0].route", "at least one destination"),
        (
            f"hosts: [a]\ntcp: [{{match: [{{destinationSubnets: [10.0.0.0/33]}}], route: {ROUTE}}}]",
            "spec.tcp[0].match[0].destinationSubnets[0]",
            "a CIDR block",
        ),
        (
            f"hosts: [a.com]\ntls: [{{match: [{{sniHosts: [b.com]}}], route: {ROUTE}}}]",
            "spec.tls[0].match[0].sniHosts[0]",
            "within the hosts a.com",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(spec: str, field: str, says: str) -> None:
    found = errors(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    "spec",
    [
        with_route(f"route: {ROUTE}"),
        with_route(f"route: {ROUTE}", hosts="[10.0.0.1]"),
        with_route(f"route: {ROUTE}", hosts="['*']", gateways="[shop/front]"),
        with_route(f"route: {ROUTE}", hosts="['*.b.com', a.c.com]"),
        with_route(f"route: {ROUTE}", exportTo="['.', other]"),
        with_route("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}}]"),
        with_route(f"route: {ROUTE}, match: [{{uri: {{regex: '/v[0-9]+(/.*)?'}}}}]"),
        with_route(f"route: {ROUTE}, match: [{{withoutHeaders: {{x-test: {{}}}}}}]"),
        with_route(f"route: {ROUTE}, headers: {{request: {{set: {{a: '50%% of %HOSTNAME% %REQ(X):3%'}}}}}}"),
        with_route(f"route: {ROUTE}, rewrite: {{authority: a}}, headers: {{response: {{set: {{b: c}}}}}}"),
        with_route(f"route: {ROUTE}, retries: {{attempts: 2, retryOn: '5xx,503,unavailable'}}"),
        with_route(f"route: {ROUTE}, timeout: 1.5s, retries: {{attempts: 1, backoff: 1ms}}"),
        with_route("redirect: {prefixRewrite: /b}, match: [{uri: {prefix: /a}}, {method: {exact: GET}}]"),
        with_route(f"route: {ROUTE}, match: [{{uri: {{prefix: ''}}}}]"),
        with_route(f"route: {ROUTE}, match: [{{withoutHeaders: {{a: {{regex: '*'}}}}}}]"),
        with_route(f"route: {ROUTE}, match: [{{headers: {{':path': {{prefix: /}}, 'a.b': {{exact: c}}}}}}]"),
        with_route(
            f"route: {ROUTE}, match: [{{headers: {{'@request.auth.claims[a][b]': {{exact: c}}}}}}]", gateways="[a/b]"
        ),
        with_route(f"route: {ROUTE}, headers: {{request: {{set: {{a: '%START_TIME(%s.%3f)%'}}}}}}"),
        with_route(f"route: {ROUTE}, corsPolicy: {{allowMethods: ['*'], maxAge: 1s}}"),
        with_route("route: [{destination: {host: a, subset: V1}}]"),
        with_route(f"route: {ROUTE}, match: [{{uri: {{regex: '/a.*'}}}}]", hosts=""),
        "hosts: [outbound_.80_._.a.b]\ngateways: [a/b]\n"
        f"tls: [{{match: [{{sniHosts: [outbound_.80_._.a.b]}}], route: {ROUTE}}}]",
        with_route("delegate: {name: other}"),
        f"hosts: ['*.a.com']\ntls: [{{match: [{{sniHosts: [b.a.com, '*.b.a.com']}}], route: {ROUTE}}}]",
        f"hosts: [a]\ntcp: [{{match: [{{destinationSubnets: [10.0.0.0/8, '::1']}}], route: {ROUTE}}}]",
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(spec: str) -> None:
    assert warnings(KIND, spec) == {}


@pytest.mark.parametrize(
    ("routes", "fields"),
    [
        ("[{match: [{uri: {prefix: /a}}], route: R}, {match: [{uri: {prefix: /ab}}], route: R}]", ["spec.http[1]"]),
        ("[{match: [{uri: {prefix: /ab}}], route: R}, {match: [{uri: {prefix: /a}}], route: R}]", []),
        ("[{route: R}, {match: [{uri: {exact: /a}}], route: R}]", ["spec.http[1]"]),
        ("[{match: [{uri: {exact: /a}}], route: R}, {route: R}]", []),
        (
            "[{match: [{uri: {exact: /a}}], route: R}, "
            "{match: [{name: again, uri: {exact: /a}}, {uri: {exact: /b}}], route: R}]",
            ["spec.http[1].match[0]"],
        ),
        (
            "[{match: [{uri: {prefix: /a}, headers: {x: {exact: y}}}], route: R}, "
            "{match: [{uri: {prefix: /ab}}], route: R}]",
            [],
        ),
        (
            "[{match: [{uri: {prefix: /a}, port: 80}], route: R}, {match: [{uri: {prefix: /ab}, port: 81}], route: R}]",
            [],
        ),
    ],
)
def test_a_route_that_no_request_reaches_is_told(routes: str, fields: list[str]) -> None:
    spec = f"hosts: [reviews]\nhttp: {routes.replace('R', ROUTE)}"
    assert list(warnings(KIND, spec)) == fields


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (with_route(f"route: {ROUTE}", gateways="[front.shop.svc.cluster.local]"), "spec.gateways[0]"),
        (with_route(f"route: {ROUTE}, mirror: {{host: a}}, mirrorPercent: 5"), "spec.http[0].mirrorPercent"),
        (
            f"hosts: ['*.com']\ntls: [{{match: [{{sniHosts: [10.0.0.1]}}], route: {ROUTE}}}]",
            "spec.tls[0].match[0].sniHosts[0]",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(spec: str, field: str) -> None:
    assert list(warnings(KIND, spec)) == [field]
