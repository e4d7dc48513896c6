"""What a check says of a field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import Fault


@dataclass(frozen=True, slots=True)
class Remark:
    """A fault with its weight: an error refuses the object, a warning does not."""

    fault: Fault
    is_error: bool


def error(text: str, *path: str | int) -> Remark:
    """The object cannot be used: `text` says what was read and what is accepted at `path`."""
    return Remark(Fault(path, text), True)


def warning(text: str, *path: str | int, code: str = "") -> Remark:
    """The object can be used, and its author should know `text` of the field at `path`; `code` as in Fault."""
    return Remark(Fault(path, text, code), False)


def said(read: object, accepted: str) -> str:
    """The text of a fault."""
    shown = repr(read)
    return f"read {shown if len(shown) <= 120 else shown[:117] + '...'}; accepted is {accepted}"


def faulty(said_of_it: str | None, *path: str | int) -> Iterator[Remark]:
    """An error if something was said of the value at `path`; nothing otherwise."""
    if said_of_it is not None:
        yield error(said_of_it, *path)
