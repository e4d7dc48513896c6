"""The answer to an API server is the answer of the offline check."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.gateway_api.objects import GROUP as GATEWAY_GROUP
from agent.controller.admission import answer, configuration
from agent.errors import InvalidObjectError

STRICT: dict[str, Any] = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "strict", "namespace": "shop"},
    "spec": {"mtls": {"mode": "STRICT"}},
}
BROKEN = {**STRICT, "spec": {"mtls": {"mode": "STRIKT"}}}


def asked(found: object, operation: str = "CREATE", before: object = None) -> dict[str, Any]:
    request = {"uid": "1", "operation": operation, "object": found, "oldObject": before}
    told = answer({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    response: dict[str, Any] = told["response"]
    assert (told["apiVersion"], told["kind"], response.pop("uid")) == ("admission.k8s.io/v1", "AdmissionReview", "1")
    return response


def test_a_valid_object_is_let_pass() -> None:
    assert asked(STRICT) == {"allowed": True}


def test_a_name_that_is_made_up_later_and_a_kind_that_nobody_reads_are_let_pass() -> None:
    assert asked({**STRICT, "metadata": {"generateName": "strict-", "namespace": "shop"}}) == {"allowed": True}
    route = {"apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "UDPRoute", "metadata": {"name": "a"}}
    assert asked(route) == {"allowed": True}


def test_an_invalid_object_is_refused_with_object_field_and_what_is_accepted() -> None:
    response = asked(BROKEN)
    assert response["allowed"] is False
    assert (response["status"]["code"], response["status"]["reason"]) == (422, "Invalid")
    assert response["status"]["message"].startswith("PeerAuthentication shop/strict: spec.mtls.mode: read 'STRIKT': ")


def test_what_is_hardly_meant_is_let_pass_with_a_warning() -> None:
    response = asked({**STRICT, "spec": {"mtls": {"mode": "DISABLE"}}})
    assert response["allowed"] is True
    assert response["warnings"][0].startswith("spec.mtls.mode: read DISABLE")


def test_a_broken_object_that_is_stored_already_can_still_be_labelled() -> None:
    labelled = {**BROKEN, "metadata": {**STRICT["metadata"], "labels": {"a": "b"}, "finalizers": []}}
    response = asked(labelled, "UPDATE", BROKEN)
    assert response["allowed"] is True
    assert "STRIKT" in response["warnings"][0]


def test_a_broken_object_cannot_be_changed_into_another_broken_one() -> None:
    other = {**BROKEN, "spec": {"mtls": {"mode": "strict"}}}
    assert asked(other, "UPDATE", BROKEN)["allowed"] is False


def test_a_deletion_is_never_judged() -> None:
    assert asked(None, "DELETE", BROKEN) == {"allowed": True}


@pytest.mark.parametrize("review", [None, [], {}, {"request": 1}, {"request": {"uid": 1}}])
def test_what_is_no_review_is_refused(review: object) -> None:
    with pytest.raises(InvalidObjectError, match="no AdmissionReview"):
        answer(review)


def test_the_configuration_asks_for_every_group_that_is_validated() -> None:
    [hook] = configuration("weft-validator", {"url": "https://x"}, "Ignore")["webhooks"]
    assert hook["failurePolicy"] == "Ignore"
    assert "gateway.networking.k8s.io" in hook["rules"][0]["apiGroups"]


ROUTE: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"rules": [{"newlyInvented": 1}]},
}


def test_a_field_that_a_newer_gateway_api_may_know_is_let_pass_with_a_warning() -> None:
    assert asked(ROUTE) == {"allowed": True, "warnings": ["spec.rules[0].newlyInvented: unknown field"]}


@pytest.mark.parametrize("other", [{"kind": "UDPRoute"}, {"apiVersion": f"{GATEWAY_GROUP}/v9"}])
def test_a_kind_or_version_that_a_newer_gateway_api_may_know_is_let_pass(other: dict[str, str]) -> None:
    assert asked({**ROUTE, **other})["allowed"] is True


def test_what_no_gateway_api_accepts_is_refused() -> None:
    assert asked({**ROUTE, "spec": {"rules": 1}})["allowed"] is False


def test_an_unknown_field_of_istio_s_kinds_is_refused() -> None:
    assert asked({**STRICT, "spec": {"newlyInvented": 1}})["allowed"] is False
