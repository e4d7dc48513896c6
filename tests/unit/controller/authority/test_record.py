"""What the controllers have written down is read again as it was."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from agent.controller.authority.ca import Authority
from agent.controller.authority.record import new, patch, read
from agent.controller.authority.trust import Periods, Trust, begun, step
from agent.errors import ConfigError
from tests.support.authorities import MIDDLE, NOW, ROOT, SIGNER, an_authority

PERIODS = Periods(timedelta(microseconds=7), timedelta(days=1))
NEW = an_authority("new")


def rotated() -> Trust:
    """From an intermediate below the old root to a new one, which signs by now."""
    trust = begun(Authority(SIGNER[1], ROOT[0], (SIGNER[0], MIDDLE[0])), NOW)
    for moment in (NOW, NOW + PERIODS.overlap):
        trust = step(trust, Authority(NEW[1], NEW[0]), moment, PERIODS)
    return trust


def with_roots(text: str) -> dict[str, object]:
    secret = new(rotated())
    return {**secret, "data": {**secret["data"], "roots.json": base64.b64encode(text.encode()).decode()}}


@pytest.mark.parametrize("trust", [begun(Authority(SIGNER[1], ROOT[0], (SIGNER[0], MIDDLE[0])), NOW), rotated()])
def test_it_says_what_it_was_told(trust: Trust) -> None:
    assert read(new(trust)) == trust
    assert (
        read(
            patch(new(begun(trust.signing, NOW)) | {"metadata": {"name": "x", "resourceVersion": "7"}}, trust)
            | {"metadata": {"name": "weft-ca-record"}}
        )
        == trust
    )


def test_a_change_holds_only_against_what_it_was_worked_out_from() -> None:
    stored = new(rotated())
    stored["metadata"]["resourceVersion"] = "7"
    assert patch(stored, rotated())["metadata"] == {"resourceVersion": "7"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not as a controller has written it"),
        ("[]", "is without the root of the authority that signs"),
        ("[1]", "is not as a controller has written it"),
        (json.dumps([{"certificate": "x", "since": "2026-01-01T00:00:00+00:00"}]), "is not as"),
        (
            json.dumps(
                [json.loads(base64.b64decode(new(rotated())["data"]["roots.json"]))[0] | {"since": "2026-01-01"}]
            ),
            "without a time zone",
        ),
    ],
)
def test_what_somebody_has_made_of_it_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^Secret istio-system/weft-ca-record: roots.json .*{says}"):
        read(with_roots(text))
