"""Asking the mesh's processes about one connection: each thing once, in their own words."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from agent.cli import places, reach
from agent.cli.catalogue import Catalogue
from agent.errors import UnavailableError, WeftError
from agent.wire import ADMIN_PORT, DEBUG_PORT

Json = dict[str, Any]


class Inquiry:
    """Every method raises UnavailableError when the process does not answer, RefusedError when it cannot.

    A process that did not answer once is not asked again: each try may last as long as patience does.
    """

    def __init__(self, mesh: reach.Mesh) -> None:
        self._mesh = mesh
        self._dumps: dict[str, Json] = {}
        self._away: dict[reach.Process, UnavailableError] = {}

    def dump(self, node: str) -> Json:
        """What the proxy of a node holds."""
        if node not in self._dumps:
            self._dumps[node] = self._ask(reach.proxy_of(node), ADMIN_PORT, "/config_dump")
        return self._dumps[node]

    def catalogue(self) -> Catalogue:
        """What the first proxy that answers knows: all are told the same."""
        reasons = []
        for node in self._mesh.nodes:
            try:
                return Catalogue(self.dump(node))
            except UnavailableError as exc:
                reasons.append(str(exc))
        raise UnavailableError("; ".join(reasons) or "the mesh has no nodes")

    def departure(self, node: str, uid: str, destination: str) -> Json:
        """Where a connection of a pod that is served goes."""
        query = {"pod": uid, "destination": destination}
        found: Json = self._ask(reach.proxy_of(node), ADMIN_PORT, "/explain", query)
        return found

    def arrival(self, node: str, destination: str, identity: str | None, address: str) -> Json:
        """Whether a workload of the node lets a client in."""
        query = {"destination": destination, "source_ip": address, **({"source": identity} if identity else {})}
        found: Json = self._ask(reach.proxy_of(node), ADMIN_PORT, "/explain", query)
        return found

    def trouble_with(self, node: str, identity: str) -> str | None:
        """What is wrong with the certificate that the node's proxy has for an identity."""
        status = self._ask(reach.proxy_of(node), ADMIN_PORT, "/status")
        found = next((each for each in status["certificates"] if each["identity"] == identity), None)
        if found is None:
            return f"the node proxy of {node} has no certificate for {identity}"
        if found["state"] == "Available":
            return None
        return (
            f"the node proxy of {node} has no certificate in force for {identity}: {found['error'] or found['state']}"
        )

    def pod_row(self, name: places.PodName) -> Json | None:
        """What node agents say of a pod; None when none of those that answer knows it."""
        for node in self._mesh.nodes:
            try:
                rows = self._ask(reach.agent_of(node), DEBUG_PORT, "/debug/pods")
            except WeftError:
                continue  # it is asked for what would help only; the verdict does not hang on it
            for row in rows:
                if (row["namespace"], row["name"]) == (name.namespace, name.name):
                    return {**row, "node": node}
        return None

    def policies(self) -> list[Json]:
        """The controller's list of policies; empty while it does not answer: it is for advice only."""
        for controller in self._mesh.controllers:
            with contextlib.suppress(WeftError):
                found: list[Json] = self._ask(controller, DEBUG_PORT, "/debug/policies")
                return found
        return []

    def _ask(self, process: reach.Process, port: int, path: str, query: Mapping[str, str] | None = None) -> Any:
        if (before := self._away.get(process)) is not None:
            raise UnavailableError(str(before)) from before
        try:
            return reach.ask(self._mesh, process, port, path, query)
        except UnavailableError as exc:
            self._away[process] = exc
            raise
