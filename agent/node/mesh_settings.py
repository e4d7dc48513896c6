"""What the ConfigMap of the mesh says of who belongs to it, read as the controller reads it so that both agree."""

from __future__ import annotations

import logging
from dataclasses import replace

from agent import kube
from agent.api.mesh_config.name import config_map_name
from agent.errors import InvalidObjectError
from agent.kube import Change, ChangeType, Object
from agent.node.selection import Rules, Selector

logger = logging.getLogger(__name__)


class MeshSettings:
    """The rules in force: those of the agent's own settings, with what the mesh's add.

    What cannot be read changes nothing; until anything could be read, it is the obstacle.
    """

    def __init__(self, own: Rules) -> None:
        self.rules = own
        self._own = own
        self._name = config_map_name(own.revision)
        self._is_there = False
        self._has_good = False  # whether one could be read, or there was none

    def begin(self) -> None:
        """The cluster is told anew: whatever is not told before SYNCED is gone."""
        self._is_there = False

    def apply(self, change: Change) -> None:
        """Take one change of a watch; of other objects it takes nothing."""
        if change.type is ChangeType.SYNCED:
            if not self._is_there:
                self._forget()
        elif change.kind == kube.SYSTEM_CONFIG_MAP and change.object is not None:
            if change.object["metadata"]["name"] != self._name:
                return
            self._is_there = change.type is not ChangeType.DELETED
            if self._is_there:
                self._read(change.object)
            else:
                self._forget()

    def _forget(self) -> None:
        self.rules, self._has_good = self._own, True

    def _read(self, found: Object) -> None:
        try:
            self.rules, self._has_good = replace(self._own, discovery=_discovery(found)), True
        except InvalidObjectError as exc:
            logger.error("the mesh's settings cannot be read, the last good ones stay", extra={"reason": exc})
            if not self._has_good:
                self.rules = replace(self._own, obstacle=f"the mesh's settings cannot be read: {exc}")


def _discovery(found: Object) -> tuple[Selector, ...]:
    # Imported on use: the models of all settings take memory, which a mesh without a ConfigMap need not spend.
    from agent.api.mesh_config.config_map import settings_of

    return settings_of(found).value.discovery_selectors
