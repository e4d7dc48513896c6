"""A node agent of the large cluster, on its fullest node; none of its pods is in the mesh."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from bench.scale import objects
from bench.scale.measures import Row
from bench.scale.objects import Size
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import SYSTEM
from tests.support.node_world import node_world
from tests.support.relay import Place, relay

LIMIT_MEBIBYTES: Final = 90.0


def measure(plane: ControlPlane, size: Size) -> list[Row]:
    """Its memory once it has read its node's pods."""
    server = urlsplit(plane.url)
    assert server.hostname and server.port
    there = Place(server.hostname, server.port)
    kubeconfig = plane.kubeconfig_of(SYSTEM, "weft-node")
    with node_world() as world, relay(Place(server.hostname, server.port, world.host), there):
        agent = world.start_agent(objects.node_name(size, 0), KUBECONFIG=str(kubeconfig))
        return [Row("memory of the agent of the fullest node", world.resident_mebibytes(agent), "MiB", LIMIT_MEBIBYTES)]
