"""One enrolled shop for all tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.support.mesh import Mesh, shop


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with shop("m") as running:
        yield running
