"""Each message has objects that give it, and objects that nearly do: cases/CODE.yaml and CODE-near.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.analysis.analyzers import ANALYZERS
from agent.analysis.messages import MESSAGES
from agent.analysis.run import INTERNAL_ERROR, Material, analyze

CASES = Path(__file__).with_name("cases")
NAMED = {"IST0136": ANALYZERS.keys()}  # codes that nobody is told who does not name their analyzer
CODES = sorted(set(MESSAGES) - {INTERNAL_ERROR})  # which only a fault of an analyzer gives


def found(name: str) -> set[str]:
    """The codes of all findings on a case."""
    path = CASES / f"{name}.yaml"
    material = Material()
    material.add_text(path.read_text(), path.name)
    names = NAMED.get(name.removesuffix("-near"), ())
    return {finding.code for finding in analyze(material, names=names)}


@pytest.mark.parametrize("code", CODES)
def test_the_case_of_a_code_gives_this_code_and_no_other(code: str) -> None:
    assert found(code) == {code}


@pytest.mark.parametrize("code", CODES)
def test_the_near_case_of_a_code_gives_nothing(code: str) -> None:
    assert found(f"{code}-near") == set()


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_every_code_is_explained(code: str) -> None:
    message = MESSAGES[code]
    assert message.text and not message.text.endswith(".")
    assert len(message.explanation.split()) >= 20
