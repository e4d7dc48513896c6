"""Who may write, by what the Lease says and when it was last seen to change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.controller.leadership import LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Seen, taken
from agent.kube import Object

NOW = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
STAMP = "2026-01-01T12:00:00.000005Z"


def a_lease(holder: str = "other", version: str = "1", **spec: object) -> Object:
    held = {"holderIdentity": holder, "leaseDurationSeconds": 15, **spec}
    return {"metadata": {"resourceVersion": version}, "spec": held}


def test_a_lease_is_free_once_it_has_been_seen_unchanged_for_as_long_as_it_lasts() -> None:
    seen = Seen(a_lease(), since=100.0).next(a_lease(), now=114.0)
    assert not seen.is_free(114.9)
    assert seen.is_free(115.0)


def test_a_holder_that_renews_keeps_it_however_wrong_its_clock_is() -> None:
    seen = Seen(a_lease(renewTime="1970-01-01T00:00:00.000000Z"), since=100.0)
    assert not seen.next(a_lease(version="2", renewTime="1970-01-01T00:00:02.000000Z"), now=114.0).is_free(120.0)


@pytest.mark.parametrize("lease", [a_lease(""), {"metadata": {"resourceVersion": "1"}}])
def test_a_lease_without_a_holder_is_free_at_once(lease: Object) -> None:
    assert Seen(lease, since=100.0).is_free(100.0)


def test_a_lease_that_does_not_say_how_long_it_lasts_lasts_as_long_as_ours() -> None:
    seen = Seen(a_lease(leaseDurationSeconds=None), since=100.0)
    assert not seen.is_free(100.0 + LEASE_SECONDS - 0.1)
    assert seen.is_free(100.0 + LEASE_SECONDS)


def test_taking_it_counts_a_transition_and_holds_only_against_the_version_that_was_read() -> None:
    assert taken(a_lease(version="7", leaseTransitions=3), "me", NOW) == {
        "metadata": {"resourceVersion": "7"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "renewTime": STAMP,
            "acquireTime": STAMP,
            "leaseTransitions": 4,
        },
    }


def test_renewing_it_is_no_transition() -> None:
    renewed = taken(a_lease("me"), "me", NOW)["spec"]
    assert renewed == {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": STAMP}


def test_a_holder_stops_long_enough_before_anybody_else_begins() -> None:
    assert RENEW_SECONDS + RETRY_SECONDS < LEASE_SECONDS
