"""Refused calls are counted one by one, and logged within bounds."""

from __future__ import annotations

import logging

import grpc
import pytest
from prometheus_client import CollectorRegistry

from agent.controller.refusals import MOST_CHARACTERS, OUTCOMES, Refusals, code_of
from agent.errors import (
    ConfigError,
    ForbiddenError,
    InvalidObjectError,
    ProtocolError,
    UnauthenticatedError,
    UnavailableError,
    WeftError,
)
from agent.logs import LineLimit
from agent.metrics import ControllerMetrics


class World:
    """Refusals with a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.registry = CollectorRegistry()
        self.refusals = Refusals(ControllerMetrics(self.registry), lambda: self.now)

    def refuse(self, times: int = 1) -> None:
        for _ in range(times):
            self.refusals.note("certificate", ForbiddenError("not theirs"), caller="shop/web", node="node-1")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UnauthenticatedError("x"), "unauthenticated"),
        (ForbiddenError("x"), "forbidden"),
        (InvalidObjectError("x"), "invalid"),
        (ProtocolError("x"), "invalid"),
        (UnavailableError("x"), "unavailable"),
        (ConfigError("x"), "failed"),
    ],
)
def test_each_error_has_its_code_and_its_outcome(error: WeftError, outcome: str) -> None:
    assert OUTCOMES[code_of(error)] == outcome


def test_a_refusal_says_who_wanted_what_and_why_not(caplog: pytest.LogCaptureFixture) -> None:
    World().refuse()
    (record,) = caplog.records
    facts = {name: vars(record)[name] for name in ("call", "code", "caller", "node", "reason")}
    assert (record.levelno, facts) == (
        logging.WARNING,
        {
            "call": "certificate",
            "code": grpc.StatusCode.PERMISSION_DENIED.name,
            "caller": "shop/web",
            "node": "node-1",
            "reason": "not theirs",
        },
    )


def test_a_flood_is_counted_whole_and_logged_in_part(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.refuse(1000)
    assert len(caplog.records) == LineLimit.BURST
    world.now = 2.0
    world.refuse(1000)
    assert len(caplog.records) == LineLimit.BURST + 2
    assert vars(caplog.records[LineLimit.BURST])["not_logged_before"] == 1000 - LineLimit.BURST
    assert not hasattr(caplog.records[-1], "not_logged_before")
    assert world.registry.get_sample_value("weft_controller_forbidden_total") == 2000


def test_a_caller_cannot_make_a_line_long(caplog: pytest.LogCaptureFixture) -> None:
    World().refusals.note("certificate", InvalidObjectError("y" * 10_000), identity="x" * 10_000)
    (record,) = caplog.records
    assert (len(vars(record)["reason"]), len(vars(record)["identity"])) == (MOST_CHARACTERS, MOST_CHARACTERS)
