"""Calls that are refused: every one is counted, so many are logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import grpc

from agent.errors import (
    ForbiddenError,
    InvalidObjectError,
    ProtocolError,
    UnauthenticatedError,
    UnavailableError,
    WeftError,
)
from agent.logs import LineLimit
from agent.metrics import ControllerMetrics

logger = logging.getLogger(__name__)

MOST_CHARACTERS: Final = 500  # of what a caller has made us say
_CODES: Final = (
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (InvalidObjectError, grpc.StatusCode.INVALID_ARGUMENT),
    (ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
)
OUTCOMES: Final = {
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
    grpc.StatusCode.PERMISSION_DENIED: "forbidden",
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    grpc.StatusCode.INTERNAL: "failed",
}


def code_of(error: WeftError) -> grpc.StatusCode:
    """How a caller is told."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


class Refusals:
    """Of one controller. Whoever is refused all the time fills no log, and hides nobody else's for long."""

    def __init__(self, metrics: ControllerMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._limit = LineLimit(clock)

    def note(self, call: str, error: WeftError, **facts: str) -> None:
        """A call of that kind was refused; facts: who it was and what they wanted, as far as is known."""
        match error:
            case UnauthenticatedError():
                self._metrics.authentication_failures.inc()
            case ForbiddenError():
                self._metrics.forbidden.inc()
            case InvalidObjectError():
                self._metrics.csr_errors.inc()
        if self._limit.admits():
            said = {name: value[:MOST_CHARACTERS] for name, value in {**facts, "reason": str(error)}.items()}
            extra = {"call": call, "code": code_of(error).name, **said, **self._limit.unlogged()}
            logger.warning("refused a call", extra=extra)
