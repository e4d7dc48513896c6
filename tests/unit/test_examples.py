"""The manifests that are shipped as examples."""

from pathlib import Path
from typing import Final

import pytest

from agent.api.validation import validate
from agent.documents import load
from agent.manifests import read

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FILES: Final = sorted(EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_example_is_valid(path: Path) -> None:
    found = [document.value for document in load(path.read_text())]
    assert found
    for value in found:
        assert isinstance(value, dict)
        assert validate(value, path.name).errors == ()


def test_the_lab_keeps_routes_aside() -> None:
    reading = read((EXAMPLES / "routes" / "ingress.yaml").read_text(), "ingress.yaml")
    assert reading.kept == ("Gateway shop/front", "HTTPRoute shop/to-https", "HTTPRoute shop/catalogue")
    assert (reading.manifests, reading.problems, reading.broken) == ((), (), frozenset())
