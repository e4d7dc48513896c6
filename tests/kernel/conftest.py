"""One enrolled shop for all tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.support import kubelet
from tests.support.mesh import Mesh, shop
from tests.support.node_world import NodeWorld


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with shop("m") as running:
        yield running


@pytest.fixture(scope="session")
def probed_world() -> Iterator[NodeWorld]:
    """A node with a kubelet and an enrolled pod, for all tests that leave it as they found it."""
    with kubelet.probed() as world:
        yield world
