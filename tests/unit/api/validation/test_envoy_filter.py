"""What is said of EnvoyFilters, and of what they would have Envoy read."""

from __future__ import annotations

import pytest

from tests.support.validation import errors, warnings

KIND = "networking.istio.io/v1alpha3/EnvoyFilter"
PATCH = "spec.configPatches[0]"
VALUE = f"{PATCH}.patch.value"
LUA = "'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
MANAGER = "envoy.filters.network.http_connection_manager"


def with_patch(apply_to: str = "CLUSTER", patch: str = "operation: REMOVE", match: str = "") -> str:
    matched = f", match: {{{match}}}" if match else ""
    return f"configPatches: [{{applyTo: {apply_to}, patch: {{{patch}}}{matched}}}]"


def with_value(apply_to: str, value: str, match: str = "") -> str:
    return with_patch(apply_to, f"operation: MERGE, value: {{{value}}}", match)


def with_filter(apply_to: str, matched: str) -> str:
    return with_patch(apply_to, match=f"listener: {{filterChain: {{filter: {{{matched}}}}}}}")


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (with_patch("INVALID"), f"{PATCH}.applyTo", "required"),
        ("configPatches: [{applyTo: CLUSTER}]", f"{PATCH}.patch", "required"),
        (with_patch(patch="value: {name: a}"), f"{PATCH}.patch.operation", "required"),
        (with_patch(patch="operation: MERGE"), VALUE, "MERGE needs it"),
        (
            with_patch(match="proxy: {proxyVersion: '['}"),
            f"{PATCH}.match.proxy.proxyVersion",
            "a regular expression of RE2",
        ),
        (
            with_patch("HTTP_FILTER", match="cluster: {name: a}"),
            f"{PATCH}.match.cluster",
            "accepted is listener",
        ),
        (
            with_patch("VIRTUAL_HOST", match="listener: {name: a}"),
            f"{PATCH}.match.listener",
            "accepted is routeConfiguration",
        ),
        (
            with_patch("CLUSTER", match="routeConfiguration: {name: a}"),
            f"{PATCH}.match.routeConfiguration",
            "accepted is cluster",
        ),
        (with_filter("NETWORK_FILTER", "name: ''"), f"{PATCH}.match.listener.filterChain.filter.name", "required"),
        (
            with_filter("NETWORK_FILTER", f"name: {MANAGER}, subFilter: {{name: a}}"),
            f"{PATCH}.match.listener.filterChain.filter.subFilter",
            "HTTP_FILTER",
        ),
        (
            with_filter("HTTP_FILTER", "name: a, subFilter: {name: b}"),
            f"{PATCH}.match.listener.filterChain.filter.name",
            MANAGER,
        ),
        (
            with_filter("HTTP_FILTER", f"name: {MANAGER}, subFilter: {{}}"),
            f"{PATCH}.match.listener.filterChain.filter.subFilter.name",
            "required",
        ),
        (with_value("CLUSTER", "connect_timeout: soon"), VALUE, "duration"),
        (with_value("CLUSTER", "lb_policy: [a]"), VALUE, "lb"),
        (
            with_value("HTTP_FILTER", "name: a, typed_config: {'@type': type.googleapis.com/envoy.v3.Nothing}"),
            VALUE,
            "a type of Envoy's v3",
        ),
        (
            with_value(
                "HTTP_FILTER",
                "name: a, typed_config: {'@type': type.googleapis.com/envoy.config.filter.http.lua.v2.Lua}",
            ),
            VALUE,
            "write the type of v3",
        ),
        (with_value("HTTP_FILTER", f"name: a, typed_config: {{{LUA}, inline_code: 5}}"), VALUE, "inline"),
        (with_value("CLUSTER", "metadata: " + "{a: " * 70 + "b" + "}" * 70), VALUE, "nested deeper than 60"),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(spec: str, field: str, says: str) -> None:
    found = errors(KIND, spec)
    assert list(found) == [field]
    assert says.lower() in found[field].lower()


@pytest.mark.parametrize(
    "spec",
    [
        with_patch(),
        with_patch(match="proxy: {proxyVersion: '1\\.30.*'}, cluster: {service: a}"),
        with_patch("EXTENSION_CONFIG"),
        with_filter("HTTP_FILTER", f"name: {MANAGER}, subFilter: {{name: envoy.filters.http.router}}"),
        with_value("CLUSTER", "connect_timeout: 1.5s, lb_policy: RANDOM"),
        with_value("HTTP_FILTER", f"name: a, typed_config: {{{LUA}, inlineCode: x}}"),
        with_value("LISTENER", "per_connection_buffer_limit_bytes: 32768"),
        with_value("BOOTSTRAP", "stats_flush_interval: 5s"),
        with_value("HTTP_ROUTE", "route: {cluster: a}"),
        with_value("FILTER_CHAIN", "name: a"),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_with_the_warning_that_all_get(spec: str) -> None:
    assert list(warnings(KIND, spec)) == ["spec"]


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (f"{with_patch()}\nworkloadSelector: {{}}", "spec.workloadSelector", "no labels"),
        (with_filter("LISTENER", "name: a"), f"{PATCH}.match.listener.filterChain.filter", "without effect"),
        (
            with_filter("NETWORK_FILTER", "name: envoy.tcp_proxy"),
            f"{PATCH}.match.listener.filterChain.filter.name",
            "write envoy.filters.network.tcp_proxy",
        ),
        (
            with_filter("HTTP_FILTER", f"name: {MANAGER}, subFilter: {{name: envoy.router}}"),
            f"{PATCH}.match.listener.filterChain.filter.subFilter.name",
            "write envoy.filters.http.router",
        ),
        (
            with_patch(match=f"proxy: {{proxyVersion: {'a' * 1025}}}"),
            f"{PATCH}.match.proxy.proxyVersion",
            "without effect",
        ),
        (with_value("CLUSTER", "unheard_of: 1"), VALUE, "unheard_of"),
        (with_value("HTTP_FILTER", "name: envoy.filters.http.lua"), VALUE, "no typed_config"),
        (
            with_value("HTTP_ROUTE", "unheard_of: 1", "context: WAYPOINT, waypoint: {}"),
            VALUE,
            "unheard_of",
        ),
        (
            with_value("HTTP_FILTER", "name: a, typed_config: {'@type': x}", "context: WAYPOINT, waypoint: {}"),
            VALUE,
            "a type of Envoy's v3",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(spec: str, field: str, says: str) -> None:
    found = warnings(KIND, spec)
    assert list(found) == ["spec", field]
    assert says in found[field]
