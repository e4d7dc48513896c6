"""What the status of a policy says, and when it is written."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

from agent import kube
from agent.api.kubernetes import parse
from agent.api.security import AuthorizationPolicy
from agent.controller.cluster import ClusterState, Refused
from agent.controller.status import Statuses, patch, patch_of_refused
from agent.kube import AUTHORIZATION_POLICY
from tests.support.objects import Object, a_policy

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GET = [{"to": [{"operation": {"methods": ["GET"]}}]}]
ACCEPTED = {
    "type": "ZtunnelAccepted",
    "status": "True",
    "reason": "Accepted",
    "message": "node proxies enforce the policy as it is written",
    "lastTransitionTime": "2026-01-02T00:00:00Z",
}
UNSUPPORTED = {
    "type": "ZtunnelAccepted",
    "status": "False",
    "reason": "UnsupportedValue",
    "message": "spec.rules[0]: to[0].operation.methods: only a waypoint can tell, so the rule allows nothing",
    "lastTransitionTime": "2026-01-02T00:00:00Z",
}
OTHER = {"type": "WaypointAccepted", "status": "True"}


def patch_of(given: Object, *conditions: Object) -> Object | None:
    policy = parse({**given, "status": {"conditions": [*conditions]}} if conditions else given, "f")
    assert isinstance(policy, AuthorizationPolicy)
    return patch(policy, NOW)


def test_a_policy_that_is_enforced_as_written_is_accepted() -> None:
    assert patch_of(a_policy()) == {"status": {"conditions": [ACCEPTED]}}


def test_a_shortfall_is_an_unsupported_value_and_conditions_of_others_stay() -> None:
    assert patch_of(a_policy(rules=GET), ACCEPTED, OTHER) == {"status": {"conditions": [OTHER, UNSUPPORTED]}}


def test_a_status_that_is_up_to_date_is_not_written_again() -> None:
    assert patch_of(a_policy(), OTHER, {**ACCEPTED, "lastTransitionTime": "2020-01-01T00:00:00Z"}) is None


def test_another_message_is_no_transition() -> None:
    before = {**UNSUPPORTED, "message": "another", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    assert patch_of(a_policy(rules=GET), before) == {
        "status": {"conditions": [{**UNSUPPORTED, "lastTransitionTime": "2020-01-01T00:00:00Z"}]}
    }


async def test_what_is_written_touches_nothing_when_it_comes_back(tmp_path: Path) -> None:
    cluster = kube.StateDirectory.create_at(tmp_path)
    state = ClusterState("state")
    statuses = Statuses(cluster, state, lambda: NOW)
    created = await cluster.create(AUTHORIZATION_POLICY, a_policy(rules=GET))
    statuses.update(state.apply(kube.Change(kube.ChangeType.ADDED, AUTHORIZATION_POLICY, created)).policies)
    writing = asyncio.create_task(statuses.run())
    async with contextlib.aclosing(cluster.watch([AUTHORIZATION_POLICY])) as changes:
        async for change in changes:
            if change.object is not None and "status" in change.object:
                stored = change.object
                break
    assert stored["status"] == {"conditions": [UNSUPPORTED]}
    back = state.apply(kube.Change(kube.ChangeType.MODIFIED, AUTHORIZATION_POLICY, stored))
    assert (back.policies, back.pods) == (frozenset(), frozenset())
    assert patch(state.policies["shop", "allow"], NOW) is None
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing


def test_a_policy_that_cannot_be_used_says_why_and_what_holds_instead() -> None:
    refused = Refused({**a_policy(), "status": {"conditions": [OTHER]}}, "spec.rules: read 1; accepted is a list")
    for is_good, then in ((True, "its last good version stays"), (False, "all that it is for is denied")):
        change = patch_of_refused(refused, has_good_version=is_good, now=NOW)
        assert change is not None
        other, mine = change["status"]["conditions"]
        assert (other, mine["status"], mine["reason"]) == (OTHER, "False", "Invalid")
        assert mine["message"].startswith(f"spec.rules: read 1; accepted is a list; {then}")


async def test_the_status_of_a_policy_that_cannot_be_used_is_written_once(tmp_path: Path) -> None:
    cluster = kube.StateDirectory.create_at(tmp_path)
    created = await cluster.create(AUTHORIZATION_POLICY, {**a_policy(), "spec": {"rules": 1}})
    state = ClusterState("state")
    statuses = Statuses(cluster, state, lambda: NOW)
    statuses.update(state.apply(kube.Change(kube.ChangeType.ADDED, AUTHORIZATION_POLICY, created)).policies)
    writing = asyncio.create_task(statuses.run())
    async with contextlib.aclosing(cluster.watch([AUTHORIZATION_POLICY])) as changes:
        async for change in changes:
            if change.object is not None and "status" in change.object:
                stored = change.object
                break
    (condition,) = stored["status"]["conditions"]
    assert condition["reason"] == "Invalid"
    state.apply(kube.Change(kube.ChangeType.MODIFIED, AUTHORIZATION_POLICY, stored))
    refused = state.refused["AuthorizationPolicy", "shop", "allow"]
    assert patch_of_refused(refused, has_good_version=False, now=NOW) is None
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
