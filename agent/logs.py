"""Logging set-up: one line per event on standard error, facts from `extra` behind it."""

from __future__ import annotations

import json
import logging
import sys
import time
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


def set_up(form: str = "plain", level: str = "INFO") -> None:
    """Send all logging to standard error, in one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
