"""Policies that are in force while a block runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from agent.lab.session import until
from agent.wire import ADMIN_PORT
from tests.support.mesh import Mesh

FILE = "enforced.yaml"


@contextlib.contextmanager
def enforced(mesh: Mesh, *policies: str, node: str = "node-2") -> Iterator[None]:
    """Manifests of policies, known to a node's proxy while the block runs and to nobody after it."""
    before = known_policies(mesh, node)
    mesh.write(FILE, "\n---\n".join(policies))
    try:
        until("the proxy knows them", lambda: len(known_policies(mesh, node) - before) == len(policies))
        yield
    finally:
        (mesh.manifests / FILE).unlink()
        until("the proxy has forgotten them", lambda: known_policies(mesh, node) == before)


def known_policies(mesh: Mesh, node: str) -> set[str]:
    """NAMESPACE/NAME of every policy that a node's proxy has."""
    found = json.loads(mesh.scrape(node, ADMIN_PORT, "/config_dump"))["policies"]
    return {f"{each['namespace']}/{each['name']}" for each in found}
