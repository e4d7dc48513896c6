"""What is logged, changed while the proxy runs: the levels of its loggers, and of the access log.

A change is LEVEL for all loggers, LOGGER:LEVEL for one and those below it, or access:LEVEL for the
access log; several are joined by commas. What is shown is written the same way.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from agent.errors import ConfigError
from agent.logs import LEVELS

ACCESS: Final = "access"
ACCESS_LEVELS: Final = ("off", "error", "info")
_ROOT: Final = "agent"
_SHORT: Final = {"WARN": "WARNING"}


class AccessLog(Protocol):
    """What writes a line for each connection; as agent._engine.Engine."""

    def access_log_level(self) -> str: ...
    def set_access_log_level(self, level: str) -> None: ...


def parse(text: str) -> list[tuple[str, str]]:
    """(logger, level) of each change, "" for all loggers; ConfigError names what is not understood."""
    return [_parse(part) for part in text.split(",")]


def _parse(part: str) -> tuple[str, str]:
    name, colon, level = part.rpartition(":")
    if name == ACCESS:
        return ACCESS, access_level(level)
    upper = _SHORT.get(level.upper(), level.upper())
    if upper not in LEVELS or (colon and name not in _loggers()):
        raise ConfigError(
            f"level: {part!r} is none of LEVEL, LOGGER:LEVEL, {ACCESS}:LEVEL; levels are {', '.join(LEVELS)}, "
            f"for {ACCESS} {', '.join(ACCESS_LEVELS)}; a logger is {_ROOT}, or a module of it as it stands in the log"
        )
    return name, upper


def access_level(level: str) -> str:
    """A level of the access log; ConfigError for anything else."""
    if level.lower() not in ACCESS_LEVELS:
        raise ConfigError(f"{ACCESS}: {level!r} is none of {', '.join(ACCESS_LEVELS)}")
    return level.lower()


def change(access_log: AccessLog, changes: list[tuple[str, str]]) -> None:
    """Put what was parsed into force, in its order."""
    for name, level in changes:
        if name == ACCESS:
            access_log.set_access_log_level(level)
            continue
        if not name:
            for other in _own():
                logging.getLogger(other).setLevel(logging.NOTSET)
        logging.getLogger(name or None).setLevel(level)


def shown(access_log: AccessLog) -> str:
    """The level of all loggers, then each logger with one of its own, then the access log's."""
    root = logging.getLevelName(logging.getLogger().level).lower()
    own = [f"{name}:{logging.getLevelName(logging.getLogger(name).level).lower()}" for name in sorted(_own())]
    return ",".join([root, *own, f"{ACCESS}:{access_log.access_log_level()}"])


def _loggers() -> list[str]:
    known = list(logging.root.manager.loggerDict)
    return [name for name in known if name == _ROOT or name.startswith(f"{_ROOT}.")]


def _own() -> list[str]:
    return [name for name in _loggers() if logging.getLogger(name).level != logging.NOTSET]
