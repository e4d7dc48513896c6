"""A whole cluster on one machine: a real control plane, and the nodes of a lab that run its pods in containers."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from agent.lab import namespaces
from agent.lab.session import Session, leftovers
from tests.support.cluster import ControlPlane, control_plane_in


@dataclass(frozen=True)
class LabWorld:
    """A cluster with the nodes node-1 and node-2."""

    plane: ControlPlane
    lab: Session


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    """A network namespace for a control plane, with nothing but loopback in it."""
    name = f"weft-test-{uuid.uuid4().hex[:8]}"
    namespaces.create(name)
    try:
        namespaces.inside(name, _loopback)
        yield name
    finally:
        namespaces.delete(name)


@contextlib.contextmanager
def lab_world(folder: Path) -> Iterator[LabWorld]:
    """One that is up and has registered its nodes; nothing of it is left after the block."""
    with namespace() as netns, control_plane_in(folder, netns) as plane:
        lab = Session(f"test-{uuid.uuid4().hex[:8]}")
        try:
            lab.join(plane.kubeconfig, netns)
            yield LabWorld(plane, lab)
        finally:
            lab.down()
            assert leftovers(lab.name) == []
            assert plane.kubectl("get", "nodes", "--output=name") == ""


def _loopback() -> None:
    with IPRoute() as netlink:
        netlink.link("set", index=1, state="up")  # the first of every namespace
