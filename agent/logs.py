"""Logging set-up: one line per event on standard error, facts from `extra` behind it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Final

from agent.config import Variable

FORMATS: Final = ("plain", "json")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMAT: Final = Variable("LOG_FORMAT", "Form of the log.", "`plain`, `json`", default="plain")
LEVEL: Final = Variable("LOG_LEVEL", "The least that is logged.", ", ".join(f"`{level}`" for level in LEVELS), "INFO")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _one_line(value: object) -> str:
    text = str(value)
    # What a peer sent must not look like a line of its own.
    return text if text.isprintable() else json.dumps(text)


class PlainFormatter(logging.Formatter):
    """time level logger message key=value …"""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {key}={_one_line(value)}" for key, value in _facts(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {record.name} {record.getMessage()}{facts}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line; facts are its own keys."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "scope": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: str(value) for key, value in _facts(record).items()}
        if record.exc_info:
            entry["stack"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class LineLimit:
    """How many lines may be logged of what others cause: BURST at once, then LINES_A_SECOND."""

    BURST: Final = 20
    LINES_A_SECOND: Final = 1.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = float(self.BURST)
        self._counted_at = clock()
        self._unlogged = 0

    def admits(self) -> bool:
        """Whether the next line may be logged; one that may not is counted."""
        now = self._clock()
        self._left = min(self.BURST, self._left + (now - self._counted_at) * self.LINES_A_SECOND)
        self._counted_at = now
        if self._left < 1:
            self._unlogged += 1
            return False
        self._left -= 1
        return True

    def unlogged(self) -> dict[str, int]:
        """How many were not logged since the last one that was, as a fact for this one; nothing if there were none."""
        count, self._unlogged = self._unlogged, 0
        return {"not_logged_before": count} if count else {}


def set_up(form: str = "plain", level: str = "INFO") -> None:
    """Send all logging to standard error, in one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
