"""The analyzers: each takes the corpus and gives findings of a few codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent.analysis.corpus import Corpus, Finding

Analyzer = Callable[[Corpus], Iterator[Finding]]

ANALYZERS: Final[Mapping[str, Analyzer]] = {}
"""By the names under which `--list-analyzers` and `--analyzer` know them."""
