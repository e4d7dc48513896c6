"""SARIF 2.1.0, which code hosts and editors show beside the lines: OASIS' sarif-v2.1.0, section 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One finding; `level` is error, warning or note (3.27.10), `line` counts from 1, 0 for none."""

    rule: str
    level: str
    text: str
    file: str
    line: int


def log(results: Iterable[Result], rules: Mapping[str, str] | None = None) -> Json:
    """The log of one run; `rules` explains the rules by their ids."""
    driver: Json = {"name": "weft", "version": version("weft")}
    if rules:
        driver["rules"] = [{"id": rule, "shortDescription": {"text": text}} for rule, text in sorted(rules.items())]
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(result) for result in results]}],
    }


def _result(result: Result) -> Json:
    location: Json = {"artifactLocation": {"uri": result.file}}
    if result.line:
        location["region"] = {"startLine": result.line}
    return {
        "ruleId": result.rule,
        "level": result.level,
        "message": {"text": result.text},
        "locations": [{"physicalLocation": location}] if result.file else [],
    }
