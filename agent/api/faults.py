"""What a model refuses, in the words that people read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.errors import Fault

_LONGEST_SHOWN = 120


def faults_of(error: ValidationError) -> list[Fault]:
    """Every fault that a model found, in the order of the fields."""
    return [_fault(detail) for detail in error.errors(include_url=False)]


def in_words(faults: Iterable[Fault]) -> str:
    """One line that names each field and what is wrong with it."""
    return "; ".join(f"{fault.field or 'the object'}: {fault.text}" for fault in faults)


def _fault(detail: ErrorDetails) -> Fault:
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "accepted is")
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a map", message.replace("a valid tuple", "a list"))
    if detail["type"] == "missing":
        return Fault(detail["loc"], "missing; it is required")
    if detail["type"] == "extra_forbidden":
        return Fault(detail["loc"], "unknown field")
    shown = repr(detail["input"])
    shown = shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."
    return Fault(detail["loc"], f"read {shown}: {message}")
