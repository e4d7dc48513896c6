"""The messages: codes, levels, texts and explanations, read from the tables beside this file.

A code IST0000 means what it means to istioctl; codes WEFT0000 are what ambient meshes add. Each
table is a list of maps: code, name, level (Info, Warning, Error), text (a sentence, with the
names of facts in braces), explanation (what it means, why it matters, what to do).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from agent import documents


class Level(enum.IntEnum):
    """How bad: the order is the order of thresholds."""

    INFO = 0
    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of thing that can be wrong."""

    code: str
    name: str
    level: Level
    text: str
    explanation: str


def _read() -> dict[str, Message]:
    found: dict[str, Message] = {}
    for table in sorted(resources.files(__package__).joinpath("messages").iterdir(), key=lambda table: table.name):
        for document in documents.load(table.read_text()):
            for row in document.value:  # type: ignore[attr-defined]  # a wrong table fails at import
                message = Message(**{**row, "level": Level[row["level"].upper()]})
                if message.code in found:
                    raise ValueError(f"{table.name}: {message.code} is given twice")
                found[message.code] = message
    return dict(sorted(found.items()))


MESSAGES: Final[Mapping[str, Message]] = _read()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A code of istioctl that nobody here tells."""

    code: str
    name: str
    reason: str


def _left_out() -> dict[str, LeftOut]:
    text = resources.files(__package__).joinpath("left_out.yaml").read_text()
    rows = documents.load(text)[0].value
    return {row["code"]: LeftOut(**row) for row in rows}  # type: ignore[attr-defined]  # a wrong table fails at import


LEFT_OUT: Final[Mapping[str, LeftOut]] = _left_out()
