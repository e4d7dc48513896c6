"""Every error Weft raises on purpose, named for what the catcher can do about it.

WeftError
├── ConfigError        a setting is wrong: tell the operator, exit
├── InvalidObjectError a resource cannot be understood: keep the last good one, report it
├── RefusedError       the other side, or our own rules, said no: do not repeat unchanged
│   ├── UnauthenticatedError   no token, or none that can be believed
│   └── ForbiddenError         known caller, but this is not theirs
├── UnavailableError   something outside is away: try again later
│   ├── BusyError              it says how many seconds later
│   ├── ExpiredError           it has forgotten the version that was asked for: read everything anew
│   ├── PodGoneError           the pod has ended: forget it
│   └── PodNotReadyError       the pod cannot be served yet: it stays pending
├── NotFoundError      the named object is not there
├── ConflictError      the object changed under the writer: read it again
├── ProtocolError      the other end broke the protocol: drop the connection
├── KernelError        the kernel refused: says which call, and what to check
└── EngineError        the engine could not do what it was asked
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class WeftError(Exception):
    """Root of all of them; the text is meant for an operator."""


class ConfigError(WeftError):
    """A setting cannot be used: names the variable, what was read, what is accepted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field: `path` are the keys and list positions that lead to it."""

    path: tuple[str | int, ...]
    text: str  # what was read and what is accepted, without the field's name
    code: str = ""  # under which `weft analyze` tells it; that of all warnings, or of all errors, if empty

    @property
    def field(self) -> str:
        """The path as people write it, spec.http[0].route; empty for the whole object."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).removeprefix(".")


class InvalidObjectError(WeftError):
    """A resource cannot be understood: names file or object, field, what is accepted."""

    def __init__(self, text: str, faults: Iterable[Fault] = ()) -> None:
        super().__init__(text)
        self.faults = tuple(faults)


class RefusedError(WeftError):
    """The request was understood and turned down."""


class UnauthenticatedError(RefusedError):
    """Nobody knows who is calling."""


class ForbiddenError(RefusedError):
    """The caller is known and may not do this."""


class UnavailableError(WeftError):
    """Something outside is away for now."""


class BusyError(UnavailableError):
    """Something outside has too much to do; `seconds` is how long it asks us to wait."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class ExpiredError(UnavailableError):
    """The version that was asked for is older than what is kept."""


class PodGoneError(UnavailableError):
    """The pod ended while it was worked on."""


class PodNotReadyError(UnavailableError):
    """The pod cannot be served yet; the text says what it waits for."""


class NotFoundError(WeftError):
    """The named object does not exist."""


class ConflictError(WeftError):
    """The object is no longer the one that the caller read, or exists already."""


class ProtocolError(WeftError):
    """The other end of a connection sent what the protocol does not allow."""


class KernelError(WeftError):
    """A system call failed in a way that retrying does not mend."""


class EngineError(WeftError):
    """The engine refused a command; the text says why."""


@contextlib.contextmanager
def first_error() -> Iterator[None]:
    """A task group wraps what ends it; the operator needs the reason itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split(WeftError)
        if ours is None or others is not None:
            raise
        reason: BaseException = ours
        while isinstance(reason, BaseExceptionGroup):  # groups within groups
            reason = reason.exceptions[0]
        raise reason from group
