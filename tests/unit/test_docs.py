"""What the documents say of the tests is so."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_on_security_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", (ROOT / "docs" / "security.md").read_text())
    sources = {path.name: path.read_text() for path in (ROOT / "tests" / "kernel").glob("test_*.py")}
    missing = [(file, test) for file, test in named if f"def {test}(" not in sources.get(file, "") and test]
    assert (missing, [file for file, _ in named if file not in sources]) == ([], [])
    assert len(named) > 40
