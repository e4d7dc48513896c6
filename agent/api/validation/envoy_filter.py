"""Checks of EnvoyFilter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.api.networking.envoy_filter import ConfigPatch, EnvoyFilter, FilterMatch, ObjectMatch, Patch
from agent.api.validation import envoy_patch, formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said, warning
from agent.api.validation.selectors import of_networking_selector

_OF_LISTENERS: Final = ("LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER")
_MATCH_FOR: Final = {
    **dict.fromkeys(_OF_LISTENERS, "listener"),
    **dict.fromkeys(("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"), "routeConfiguration"),
    "CLUSTER": "cluster",
}
_ATTRIBUTES: Final = {"listener": "listener", "routeConfiguration": "route_configuration", "cluster": "cluster"}
_MANAGERS: Final = ("envoy.filters.network.http_connection_manager", "envoy.http_connection_manager")
_HTTP_NAMES: Final = "buffer cors csrf ext_authz fault grpc_http1_bridge grpc_json_transcoder grpc_web gzip "
_MORE_HTTP_NAMES: Final = "health_check ip_tagging lua router squash"
_NETWORK_NAMES: Final = "client_ssl_auth http_connection_manager mongo_proxy ratelimit redis_proxy tcp_proxy"
_NEW_NAMES: Final = {
    **{f"envoy.{name}": f"envoy.filters.http.{name}" for name in (_HTTP_NAMES + _MORE_HTTP_NAMES).split()},
    **{f"envoy.{name}": f"envoy.filters.network.{name}" for name in _NETWORK_NAMES.split()},
    "envoy.http_dynamo_filter": "envoy.filters.http.dynamo",
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
}
_LONGEST_VERSION: Final = 1024
_INTERNAL: Final = "changes what is internal to a release, and may break with the next; prefer other kinds"


def patches(found: EnvoyFilter) -> Iterator[Remark]:
    yield warning(_INTERNAL, "spec")
    yield from of_networking_selector(found.spec.workload_selector)
    for number, patch in enumerate(found.spec.config_patches):
        path: Path = ("spec", "configPatches", number)
        if patch.match is not None and patch.match.context == "WAYPOINT":
            # Istio looks no closer at these, so that none of them is refused.
            yield from (warning(remark.fault.text, *remark.fault.path) for remark in _patch(patch, path))
        else:
            yield from _patch(patch, path)


def _patch(config: ConfigPatch, path: Path) -> Iterator[Remark]:
    if config.apply_to == "INVALID":
        yield error("missing; it is required", *path, "applyTo")
    if config.patch is None:
        yield error("missing; it is required", *path, "patch")
    else:
        yield from _change(config.apply_to, config.patch, (*path, "patch"))
    if config.match is not None:
        yield from _version(config.match, (*path, "match", "proxy", "proxyVersion"))
        yield from _match(config.apply_to, config.match, (*path, "match"))


def _change(apply_to: str, patch: Patch, path: Path) -> Iterator[Remark]:
    if patch.operation == "INVALID":
        yield error("missing; it is required", *path, "operation")
    if patch.value is None:
        if patch.operation not in ("INVALID", "REMOVE"):
            yield error(f"missing; operation {patch.operation} needs it", *path, "value")
    elif apply_to != "INVALID":
        for severity, text in envoy_patch.faults_of(apply_to, patch.value):
            yield (error if severity == "error" else warning)(text, *path, "value")


def _version(match: ObjectMatch, path: Path) -> Iterator[Remark]:
    version = match.proxy.proxy_version if match.proxy is not None else ""
    if len(version) > _LONGEST_VERSION:
        yield warning(f"without effect: it has more than {_LONGEST_VERSION} characters", *path)
    elif version:
        yield from faulty(formats.regex(version), *path)


def _match(apply_to: str, match: ObjectMatch, path: Path) -> Iterator[Remark]:
    wanted = _MATCH_FOR.get(apply_to)
    for field, attribute in _ATTRIBUTES.items():
        if wanted is not None and field != wanted and getattr(match, attribute) is not None:
            yield error(f"not accepted with applyTo {apply_to}; accepted is {wanted}", *path, field)
    chain = match.listener.filter_chain if match.listener is not None else None
    if apply_to in _OF_LISTENERS and chain is not None and chain.filter is not None:
        yield from _filter(apply_to, chain.filter, (*path, "listener", "filterChain", "filter"))


def _filter(apply_to: str, match: FilterMatch, path: Path) -> Iterator[Remark]:
    if apply_to in ("LISTENER", "FILTER_CHAIN"):
        yield warning(f"without effect with applyTo {apply_to}", *path)
    if not match.name:
        yield error("missing; it is required", *path, "name")
    yield from _name(match.name, (*path, "name"))
    if match.sub_filter is None:
        return
    if apply_to != "HTTP_FILTER":
        yield error(f"not accepted with applyTo {apply_to}; accepted is HTTP_FILTER", *path, "subFilter")
    elif match.name and match.name not in _MANAGERS:
        yield error(said(match.name, f"{_MANAGERS[0]} beside subFilter"), *path, "name")
    if not match.sub_filter.name:
        yield error("missing; it is required", *path, "subFilter", "name")
    yield from _name(match.sub_filter.name, (*path, "subFilter", "name"))


def _name(name: str, path: Path) -> Iterator[Remark]:
    if name in _NEW_NAMES:
        yield warning(f"read {name!r}, an old name; write {_NEW_NAMES[name]}", *path)
