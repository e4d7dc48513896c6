"""Reading a MeshConfig as Istio reads it, and saying what Istio keeps to itself.

Two faults do not take the mesh's settings away: a field that nobody knows, which may be one of a
newer release, and an extension provider that is broken, which may be one that nobody uses. Istio
drops the first in silence and the second with a line in its log. Here both are left out and
named, for the log of a running mesh and for a check of the text to tell; who names a provider
that was left out finds none of that name. Everything else that is wrong is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from agent.api.faults import faults_of, in_words
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.networks import MeshNetworks
from agent.api.mesh_config.providers import ExtensionProvider
from agent.api.mesh_config.proxy import ProxyConfig
from agent.api.strict import StrictPart
from agent.errors import Fault, InvalidObjectError

M = TypeVar("M", bound=StrictPart)

# Objects whose keys are their author's and not the names of fields: all the way down, or on one level.
_OPAQUE: Final = frozenset(
    {"proxyMetadata", "runtimeValues", "includeAdditionalHeadersInCheck", "labels", "matchLabels", "to"}
)
_KEYED: Final = frozenset({"customTags", "networks"})
_WORD: Final = re.compile(r"_(.)")


@dataclass(frozen=True, slots=True)
class Reading(Generic[M]):
    """What was read, and the faults of what was left out."""

    value: M
    left_out: tuple[Fault, ...] = ()


def read_mesh_config(given: object, where: str) -> Reading[MeshConfig]:
    """The settings of a mesh, absent ones as Istio has them.

    given: what the YAML under key `mesh` holds, None for an empty one; its fields may be spelt as
    in JSON or with underscores. where: the file or ConfigMap, for the error. Raises
    InvalidObjectError naming each field that is wrong.
    """
    fields = _json_names({} if given is None else given)
    providers = fields.get("extensionProviders") if isinstance(fields, Mapping) else None
    if not isinstance(fields, Mapping) or not isinstance(providers, list):
        return _read(MeshConfig, fields, where)
    usable, left_out = _usable(providers)
    reading = _read(MeshConfig, {**fields, "extensionProviders": usable}, where)
    return Reading(reading.value, (*reading.left_out, *left_out))


def read_mesh_networks(given: object, where: str) -> Reading[MeshNetworks]:
    """The networks of a mesh, from the YAML under key `meshNetworks`; else as read_mesh_config."""
    return _read(MeshNetworks, _json_names({} if given is None else given), where)


def read_proxy_config(given: object, mesh: MeshConfig, where: str) -> Reading[ProxyConfig]:
    """A pod's own settings, of its annotation proxy.istio.io/config, laid over those of the mesh."""
    own = _read(ProxyConfig, _json_names({} if given is None else given), where)
    return Reading(_laid_over(own.value, mesh.default_config), own.left_out)


def _laid_over(own: ProxyConfig, below: ProxyConfig) -> ProxyConfig:
    """Fields that are written replace; metadata add up, and so do headers."""
    changes = {name: getattr(own, name) for name in own.model_fields_set}
    changes["proxy_metadata"] = {**below.proxy_metadata, **own.proxy_metadata}
    if own.proxy_headers is not None and below.proxy_headers is not None:
        written = {name: getattr(own.proxy_headers, name) for name in own.proxy_headers.model_fields_set}
        changes["proxy_headers"] = below.proxy_headers.model_copy(update=written)
    if "service_cluster" in changes:  # one of the two names a cluster, the other is taken away
        changes["tracing_service_name"] = None
    return below.model_copy(update=changes)


def _usable(providers: list[object]) -> tuple[list[ExtensionProvider], list[Fault]]:
    """Those that can be used, and what is wrong with the others or unknown in these."""
    usable: list[ExtensionProvider] = []
    left_out: list[Fault] = []
    for place, provider in enumerate(providers):
        try:
            value, unknown = _validated(ExtensionProvider, provider)
            usable.append(value)
        except ValidationError as exc:
            unknown = faults_of(exc)
        left_out += [Fault(("extensionProviders", place, *fault.path), fault.text) for fault in unknown]
    return usable, left_out


def _read(model: type[M], fields: object, where: str) -> Reading[M]:
    try:
        value, unknown = _validated(model, fields)
    except ValidationError as exc:
        faults = faults_of(exc)
        raise InvalidObjectError(f"{where}: {model.__name__}: {in_words(faults)}", faults) from exc
    return Reading(value, tuple(unknown))


def _validated(model: type[M], fields: object) -> tuple[M, list[Fault]]:
    """The value without its unknown fields, and these; ValidationError if anything else is wrong."""
    unknown: list[Fault] = []
    while True:
        try:
            return model.model_validate(fields), unknown
        except ValidationError as exc:
            if any(detail["type"] != "extra_forbidden" for detail in exc.errors(include_url=False)):
                raise
            found = faults_of(exc)
        unknown += found
        for fault in found:
            fields = _without(fields, fault.path)


def _without(value: object, path: Sequence[str | int]) -> object:
    """A copy in which nothing is at the path."""
    step, below = path[0], path[1:]
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if key != step}
        return {**kept, step: _without(value[step], below)} if below else kept
    if isinstance(value, list):
        return [_without(item, below) if place == step else item for place, item in enumerate(value)]
    return value


def _json_names(value: object) -> object:
    """Fields under the names that JSON has for them, as protobuf derives these from its own."""
    if isinstance(value, Mapping):
        named = {_json_name(key): item for key, item in value.items()}
        return {key: _below(key, item) for key, item in named.items()}
    return [_json_names(item) for item in value] if isinstance(value, list) else value


def _below(key: object, item: object) -> object:
    if key in _OPAQUE:
        return item
    if key in _KEYED and isinstance(item, Mapping):
        return {name: _json_names(inner) for name, inner in item.items()}
    return _json_names(item)


def _json_name(key: object) -> object:
    return _WORD.sub(lambda match: match[1].upper(), key) if isinstance(key, str) else key
