"""Checks of the ConfigMap that holds a mesh's settings."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.configuration import ConfigMap
from agent.api.mesh_config.config_map import MESH, NETWORKS, holds_a_mesh, mesh_config_of, mesh_networks_of
from agent.api.validation.remarks import Remark, error
from agent.errors import Fault, InvalidObjectError


def mesh_settings(found: ConfigMap) -> Iterator[Remark]:
    """A running mesh leaves out what it does not know; whoever checks its text wants to know."""
    if not holds_a_mesh(found):
        return
    for key, read in ((MESH, mesh_config_of), (NETWORKS, mesh_networks_of)):
        if key in found.data:
            try:
                faults = read(found).left_out
            except InvalidObjectError as exc:
                faults = exc.faults or (Fault((), str(exc)),)
            for fault in faults:
                yield error(f"{fault.field}: {fault.text}".removeprefix(": "), "data", key)
