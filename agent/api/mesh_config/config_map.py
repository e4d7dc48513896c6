"""The ConfigMap that holds a mesh's settings: `istio`, or `istio-REVISION`, in the root namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from agent import documents
from agent.api.configuration import ConfigMap
from agent.api.faults import faults_of, in_words
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.networks import MeshNetworks
from agent.api.mesh_config.reading import Reading, read_mesh_config, read_mesh_networks
from agent.errors import InvalidObjectError

MESH: Final = "mesh"
NETWORKS: Final = "meshNetworks"


def settings_of(found: Mapping[str, object]) -> Reading[MeshConfig]:
    """The mesh's settings in a ConfigMap as an API server gives it; fails as mesh_config_of."""
    try:
        return mesh_config_of(ConfigMap.model_validate(found))
    except ValidationError as exc:
        raise InvalidObjectError(f"ConfigMap {_name(found)}: {in_words(faults_of(exc))}") from exc


def mesh_config_of(found: ConfigMap) -> Reading[MeshConfig]:
    """The mesh's settings, Istio's own without the key; InvalidObjectError names ConfigMap, key and field."""
    where = _where(found, MESH)
    return read_mesh_config(_value(found.data.get(MESH, ""), where), where)


def mesh_networks_of(found: ConfigMap) -> Reading[MeshNetworks]:
    """The mesh's networks, none without the key; else as mesh_config_of."""
    where = _where(found, NETWORKS)
    return read_mesh_networks(_value(found.data.get(NETWORKS, ""), where), where)


def _where(found: ConfigMap, key: str) -> str:
    return f"ConfigMap {found.full_name}: {key}"


def _name(found: Mapping[str, object]) -> str:
    metadata = found.get("metadata")
    return f"{metadata.get('namespace')}/{metadata.get('name')}" if isinstance(metadata, Mapping) else "without a name"


def _value(text: str, where: str) -> object:
    try:
        loaded = documents.load(text)
    except documents.UnreadableError as exc:
        raise InvalidObjectError(f"{where}: line {exc.line}: {exc}") from exc
    if len(loaded) > 1:
        raise InvalidObjectError(f"{where}: read {len(loaded)} documents; accepted is one")
    return loaded[0].value if loaded else None
