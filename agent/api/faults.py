"""What a model refuses, in the words that people read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.errors import Fault

UNKNOWN_FIELD = "unknown field"
_LONGEST_SHOWN = 120


def faults_of(error: ValidationError) -> list[Fault]:
    """Every fault that a model found, in the order of the fields."""
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    return [_fault(detail) for detail in details if not _follows_from_others(detail, places)]


def in_words(faults: Iterable[Fault]) -> str:
    """One line that names each field and what is wrong with it."""
    return "; ".join(f"{fault.field or 'the object'}: {fault.text}" for fault in faults)


def _follows_from_others(detail: ErrorDetails, places: Iterable[tuple[int | str, ...]]) -> bool:
    """A list is also called too short for the items that are at fault; that says nothing new."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(other[: len(place)] == place != other for other in places)


def _fault(detail: ErrorDetails) -> Fault:
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "accepted is")
    message = message.replace("String should have", "accepted is a text of")
    message = message.replace("String should match pattern", "accepted is a text that matches the pattern")
    message = re.sub(r"(Tuple|Dictionary) should have (.*) after validation, not.*", r"accepted are \2", message)
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a map", message.replace("a valid tuple", "a list"))
    if detail["type"] == "missing":
        return Fault(detail["loc"], "missing; it is required")
    if detail["type"] == "extra_forbidden":
        return Fault(detail["loc"], UNKNOWN_FIELD)
    shown = repr(detail["input"])
    shown = shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."
    return Fault(detail["loc"], f"read {shown}: {message}")
