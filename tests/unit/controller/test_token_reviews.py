"""Whose a token is, by what an API server answers."""

from __future__ import annotations

from typing import Any

import pytest

from agent.controller.auth import Caller
from agent.controller.token_reviews import BELIEVED_SECONDS, MOST_BELIEVED, TokenReviews, caller_of
from agent.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from agent.kube import Kind, Object

PROXY = Caller("istio-system", "weft-proxy", pod="weft-proxy-1", node="node-1")
USER = {
    "username": "system:serviceaccount:istio-system:weft-proxy",
    "extra": {
        "authentication.kubernetes.io/node-name": ["node-1"],
        "authentication.kubernetes.io/pod-name": ["weft-proxy-1"],
    },
}


def reviewed(**changed: Any) -> Object:
    status = {"authenticated": True, "audiences": ["istio-ca"], "user": USER, **changed}
    return {"status": {key: value for key, value in status.items() if value is not None}}


def test_a_bound_token_proves_account_pod_and_node() -> None:
    assert caller_of(reviewed()) == PROXY


def test_a_token_that_is_bound_to_nothing_proves_its_account() -> None:
    assert caller_of(reviewed(user={"username": USER["username"]})) == Caller("istio-system", "weft-proxy")


@pytest.mark.parametrize(
    "changed",
    [
        {"authenticated": None},
        {"authenticated": False},
        {"authenticated": "true"},
        {"audiences": None},
        {"audiences": ["another"]},
        {"user": None},
        {"user": {"username": "admin"}},
        {"user": {"username": "system:serviceaccount:istio-system"}},
        {"user": {"username": "system:serviceaccount::weft-proxy"}},
        {"user": {"username": ["system:serviceaccount:istio-system:weft-proxy"]}},
    ],
)
def test_anything_else_is_from_nobody(changed: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError):
        caller_of(reviewed(**changed))


def test_a_fact_that_is_given_twice_is_not_believed() -> None:
    twice = {"authentication.kubernetes.io/node-name": ["node-1", "node-2"]}
    assert caller_of(reviewed(user={**USER, "extra": twice})).node == ""


class Reviewer:
    """An API server that reviews tokens, at a time that the test sets."""

    def __init__(self, answer: Object | Exception) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.now = 0.0
        self.reviews = TokenReviews(self, lambda: self.now)  # type: ignore[arg-type]

    async def create(self, kind: Kind, new: Object) -> Object:
        self.asked.append(new["spec"])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_an_answer_is_believed_for_some_seconds_and_then_asked_for_again() -> None:
    reviewer = Reviewer(reviewed())
    for now in (0.0, BELIEVED_SECONDS - 1, BELIEVED_SECONDS):
        reviewer.now = now
        assert await reviewer.reviews.caller("token") == PROXY
    assert reviewer.asked == [{"token": "token", "audiences": ["istio-ca"]}] * 2


async def test_another_token_is_another_question() -> None:
    reviewer = Reviewer(reviewed())
    await reviewer.reviews.caller("one")
    reviewer.answer = reviewed(authenticated=False, error="it has expired")
    with pytest.raises(UnauthenticatedError, match="it has expired"):
        await reviewer.reviews.caller("two")


async def test_a_refusal_is_not_remembered() -> None:
    reviewer = Reviewer(reviewed(authenticated=False))
    with pytest.raises(UnauthenticatedError):
        await reviewer.reviews.caller("token")
    reviewer.answer = reviewed()
    assert await reviewer.reviews.caller("token") == PROXY


@pytest.mark.parametrize("failure", [UnavailableError("away"), ForbiddenError("no role")])
async def test_a_caller_has_no_fault_in_an_api_server_that_does_not_answer(failure: Exception) -> None:
    with pytest.raises(UnavailableError, match=str(failure)):
        await Reviewer(failure).reviews.caller("token")


async def test_so_many_answers_are_remembered_and_no_more() -> None:
    reviewer = Reviewer(reviewed())
    for number in range(MOST_BELIEVED + 1):
        await reviewer.reviews.caller(str(number))
    await reviewer.reviews.caller("1")
    assert len(reviewer.asked) == MOST_BELIEVED + 1
    await reviewer.reviews.caller("0")
    assert len(reviewer.asked) == MOST_BELIEVED + 2
