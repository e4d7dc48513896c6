"""The analyzers: each takes the corpus and gives findings of a few codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent.analysis.analyzers import enrolment, policies, ports
from agent.analysis.corpus import Corpus, Finding

Analyzer = Callable[[Corpus], Iterator[Finding]]

ANALYZERS: Final[Mapping[str, Analyzer]] = {
    "enrolment.namespaces": enrolment.namespaces,
    "enrolment.pods": enrolment.pods,
    "policies.selectors": policies.selectors,
    "ports.conflicts": ports.conflicts,
    "ports.protocols": ports.protocols,
}
"""By the names under which `--list-analyzers` and `--analyzer` know them."""
