"""Reading settings from a mapping of environment variables.

Each process has one frozen dataclass of settings with a `parse(environment)`; only the
main modules look at os.environ. Durations are written as in Go and Istio: 90s, 10m, 24h.

Each field is annotated with the variables that it is read from, and docs/operating.md has
its tables from there. A test holds parse() to what the annotations say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from agent.errors import ConfigError

Environment = Mapping[str, str]
Word = TypeVar("Word", bound=str)

# What is accepted, in the words of the tables.
A_NAME = "a name"
A_PATH = "a path"
A_DURATION = "a duration: `250ms`, `90s`, `1h30m`"
AN_ADDRESS = "`HOST:PORT` or `https://HOST:PORT`"


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that a setting is read from.

    default: its value when it is not set. unset: what holds then, in words, where no one value
    does. A variable with neither must be set.
    """

    name: str
    meaning: str
    accepted: str
    default: str = ""
    unset: str = ""

    @property
    def is_required(self) -> bool:
        return not (self.default or self.unset)


def variables(settings: type[Any]) -> Iterator[Variable]:
    """The variables of a dataclass of settings, in the order of its fields."""
    hints = get_type_hints(settings, include_extras=True)
    for field in fields(settings):
        for note in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(note, Variable):
                yield note


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def required(environment: Environment, name: str) -> str:
    """The variable's value; ConfigError when it is missing or empty."""
    value = environment.get(name, "")
    if not value:
        raise ConfigError(f"{name} is not set; it has no default")
    return value


def duration(environment: Environment, name: str, default: str) -> float:
    """Seconds of a duration such as 90s, 1h30m or 250ms."""
    text = environment.get(name) or default
    if not _DURATION.fullmatch(text):
        raise ConfigError(f"{name}={text!r} is not a duration; accepted are forms like 250ms, 90s, 10m, 24h")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def integer(environment: Environment, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number within [least, most]."""
    text = environment.get(name) or str(default)
    try:
        value = int(text)
    except ValueError as exc:
        raise ConfigError(f"{name}={text!r} is not a whole number") from exc
    if not least <= value <= most:
        raise ConfigError(f"{name}={value} is out of range; accepted is {least} to {most}")
    return value


def choice(environment: Environment, name: str, default: Word, accepted: tuple[Word, ...]) -> Word:
    """One of the accepted words."""
    text = environment.get(name) or default
    for word in accepted:
        if word == text:
            return word
    raise ConfigError(f"{name}={text!r} is not known; accepted are {', '.join(accepted)}")


def path(environment: Environment, name: str, default: str) -> Path:
    """A path; it need not exist yet."""
    return Path(environment.get(name) or default)


def flag(environment: Environment, name: str, *, default: bool) -> bool:
    """true or false."""
    return choice(environment, name, str(default).lower(), ("true", "false")) == "true"


def host_and_port(environment: Environment, name: str, default: str) -> str:
    """HOST:PORT of an address that may be written as a URL (https://HOST:PORT)."""
    text = environment.get(name) or default
    address = text.removeprefix("https://").rstrip("/")
    host, colon, port = address.rpartition(":")
    if not (host and "/" not in host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"{name}={text!r} is not an address; accepted is HOST:PORT or https://HOST:PORT")
    return address
