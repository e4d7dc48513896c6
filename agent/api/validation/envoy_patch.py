"""Whether the value of an EnvoyFilter's patch is configuration that Envoy can read.

The messages are Envoy's own, v3. A type that they do not have is either another program's, or
one of a newer Envoy.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Final, Literal

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

_MESSAGES: Final = {
    "CLUSTER": "envoy.config.cluster.v3.Cluster",
    "LISTENER": "envoy.config.listener.v3.Listener",
    "LISTENER_FILTER": "envoy.config.listener.v3.ListenerFilter",
    "FILTER_CHAIN": "envoy.config.listener.v3.FilterChain",
    "NETWORK_FILTER": "envoy.config.listener.v3.Filter",
    "HTTP_FILTER": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "ROUTE_CONFIGURATION": "envoy.config.route.v3.RouteConfiguration",
    "VIRTUAL_HOST": "envoy.config.route.v3.VirtualHost",
    "HTTP_ROUTE": "envoy.config.route.v3.Route",
    "EXTENSION_CONFIG": "envoy.config.core.v3.TypedExtensionConfig",
    "BOOTSTRAP": "envoy.config.bootstrap.v3.Bootstrap",
}
_PACKAGE: Final = re.compile(r"(?:envoy|xds|udpa)(?:\.[a-z][a-z0-9_]*)+")
_TYPE: Final = re.compile(r"type\.googleapis\.com/(?:[A-Za-z_][A-Za-z0-9_]*\.)+[A-Za-z_][A-Za-z0-9_]*")
_PACKAGE_OF: Final = re.compile(r"(?:[a-z_][a-z0-9_]*\.)*")  # before the message, and those that it is within
_V2: Final = re.compile(r"/envoy\.(.*\.)?v2(alpha[0-9]*)?\.")
_PLACE: Final = re.compile(r' at "?[A-Za-z0-9_.]+"?\.?$')
_DEEPEST: Final = 60  # of maps and lists; Envoy reads protobuf no deeper than 100 messages
_FILTERS: Final = ("LISTENER_FILTER", "NETWORK_FILTER", "HTTP_FILTER", "EXTENSION_CONFIG")

Severity = Literal["error", "warning"]


def faults_of(apply_to: str, value: Mapping[str, object]) -> Iterator[tuple[Severity, str]]:
    """What is wrong with a value for an object of that type: an error if Envoy cannot read it at all."""
    if _depth(value) > _DEEPEST:
        yield "error", f"nested deeper than {_DEEPEST} levels"
        return
    unknown = sorted(name for name in _types(value) if not _is_known(name))
    for name in unknown:
        hint = "; write the type of v3" if _V2.search(name) else ""
        yield "error", f"read type {name!r}; accepted is a type of Envoy's v3 configuration{hint}"
    if unknown:
        return
    said = _unreadable(apply_to, value, is_strict=False)
    if said is not None:
        yield "error", said
        return
    said = _unreadable(apply_to, value, is_strict=True)
    if said is not None:
        yield "warning", said
    if apply_to in _FILTERS and not {"typed_config", "typedConfig", "config_discovery", "configDiscovery"} & set(value):
        yield "warning", "has no typed_config: Envoy finds no filter by its name alone"


def _unreadable(apply_to: str, value: Mapping[str, object], *, is_strict: bool) -> str | None:
    message = _class_of(_MESSAGES[apply_to])()
    try:
        json_format.ParseDict(dict(value), message, ignore_unknown_fields=not is_strict)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, KeyError) as exc:
        # Its parser takes a map to be a map, and stumbles where there is none.
        return _PLACE.sub("", str(exc).split("\n")[0]) or type(exc).__name__
    return None


@cache
def _class_of(name: str) -> type[Message]:
    _load(name.rpartition(".")[0])
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _types(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        found = value.get("@type")
        if isinstance(found, str):
            yield found
        for item in value.values():
            yield from _types(item)
    elif isinstance(value, list):
        for item in value:
            yield from _types(item)


def _depth(value: object) -> int:
    """Of maps and lists, without recursion."""
    deepest, here = 0, [value]
    while here:
        deepest += 1
        below = [list(item.values()) if isinstance(item, Mapping) else item for item in here]
        here = [item for items in below if isinstance(items, list) for item in items]
    return deepest


@lru_cache(maxsize=1024)
def _is_known(url: str) -> bool:
    """Whether there is such a message; those of a package are loaded when it is first named."""
    if not _TYPE.fullmatch(url) or _V2.search(url):
        return False
    name = url.rpartition("/")[2]
    _load(_PACKAGE_OF.match(name)[0].rstrip("."))  # type: ignore[index]  # it matches the empty text too
    try:
        descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return False
    return True


@lru_cache(maxsize=1024)
def _load(package: str) -> None:
    if package == "google.protobuf":
        for name in ("any", "duration", "struct", "wrappers", "timestamp", "empty"):
            import_module(f"google.protobuf.{name}_pb2")
    if not _PACKAGE.fullmatch(package):
        return
    try:
        parent = import_module(package)
    except ImportError:
        return
    for module in pkgutil.iter_modules(parent.__path__):
        if module.name.endswith("_pb2"):
            import_module(f"{package}.{module.name}")
