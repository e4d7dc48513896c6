from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent import kube
from agent.errors import NotFoundError, RefusedError, UnavailableError
from agent.kube import Change, ChangeType, Kind
from agent.node.departure import Departure

DAEMON_SET = Kind("apps/v1", "DaemonSet", "daemonsets", namespace="istio-system", named="weft-node")
NAMESPACE = replace(kube.NAMESPACE, named="istio-system")
STANDING: dict[str, Any] = {"metadata": {"name": "weft-node", "namespace": "istio-system"}}
ENDING: dict[str, Any] = {"metadata": {"name": "weft-node", "deletionTimestamp": "2026-01-01T00:00:00Z"}}


class Answer:
    """An API server that says one thing of the DaemonSet."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        assert (kind.name, namespace, name) == ("DaemonSet", "istio-system", "weft-node")
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def seen(*changes: tuple[ChangeType, Kind, dict[str, Any]]) -> Departure:
    departure = Departure("weft-node")
    for change in changes:
        departure.take(Change(*change))
    return departure


STOOD = (ChangeType.ADDED, DAEMON_SET, STANDING)


def test_an_agent_whose_daemon_set_stands_is_replaced() -> None:
    assert not seen(STOOD).is_final
    assert not seen(STOOD, (ChangeType.DELETED, DAEMON_SET, STANDING), STOOD).is_final


def test_an_agent_is_the_last_once_its_daemon_set_or_its_namespace_is_deleted() -> None:
    assert seen(STOOD, (ChangeType.DELETED, DAEMON_SET, STANDING)).is_final
    assert seen(STOOD, (ChangeType.MODIFIED, DAEMON_SET, ENDING)).is_final
    assert seen(STOOD, (ChangeType.MODIFIED, NAMESPACE, ENDING)).is_final


def test_a_daemon_set_that_was_never_there_says_nothing() -> None:
    assert not seen().is_final
    assert not seen((ChangeType.MODIFIED, NAMESPACE, ENDING)).is_final


@pytest.mark.parametrize("answer", [UnavailableError("away"), RefusedError("the permission has gone")])
async def test_without_an_answer_what_was_seen_decides(answer: Exception) -> None:
    cluster: Any = Answer(answer)
    assert await seen(STOOD, (ChangeType.DELETED, DAEMON_SET, STANDING)).is_final_now(cluster)
    assert not await seen(STOOD).is_final_now(cluster)


async def test_what_the_api_server_says_now_comes_before_what_was_seen() -> None:
    def answering(answer: dict[str, Any] | Exception) -> Any:
        return Answer(answer)

    assert await seen(STOOD).is_final_now(answering(NotFoundError("gone")))
    assert await seen(STOOD).is_final_now(answering(ENDING))
    assert not await seen(STOOD, (ChangeType.DELETED, DAEMON_SET, STANDING)).is_final_now(answering(STANDING))
    assert not await seen().is_final_now(answering(NotFoundError("of another name")))
