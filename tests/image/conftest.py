"""The image that scripts/image/build.sh has made, once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.image import Image, unpacked


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    with unpacked(tmp_path_factory.mktemp("image")) as found:
        yield found
