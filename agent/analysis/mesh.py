"""The settings of the mesh among the objects: ConfigMap `istio` of the root namespace, or what was given instead."""

from __future__ import annotations

from typing import Final

from agent.analysis.corpus import Corpus, Entry, view
from agent.api.configuration import ConfigMap
from agent.api.mesh_config import config_map
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.networks import MeshNetworks
from agent.errors import InvalidObjectError
from agent.wire import SYSTEM_NAMESPACE

_NAME: Final = "istio"


@view
def settings(corpus: Corpus) -> MeshConfig | None:
    """None if nothing says them."""
    if corpus.mesh is not None:
        return corpus.mesh
    found = source(corpus)
    try:
        return config_map.mesh_config_of(found.value).value if found else None
    except InvalidObjectError:  # which the validation of the ConfigMap has told
        return None


@view
def networks(corpus: Corpus) -> MeshNetworks:
    """Without any if nothing says them."""
    found = source(corpus)
    try:
        return config_map.mesh_networks_of(found.value).value if found else MeshNetworks()
    except InvalidObjectError:
        return MeshNetworks()


def source(corpus: Corpus) -> Entry[ConfigMap] | None:
    """The ConfigMap of the mesh."""
    found = corpus.find(ConfigMap, SYSTEM_NAMESPACE, _NAME)
    return found if found and {config_map.MESH, config_map.NETWORKS} & found.value.data.keys() else None
