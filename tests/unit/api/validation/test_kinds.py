"""Which objects are judged, that every kind has its checks, and that an object may leave its name to Kubernetes."""

from __future__ import annotations

import pytest

from agent.api import registry
from agent.api.validation import validate
from agent.api.validation.checks import WITHOUT_CHECKS, checks_for


@pytest.mark.parametrize(
    "entry", list(registry.entries()), ids=lambda entry: f"{entry.api_version}/{entry.model.__name__}"
)
def test_every_kind_has_checks_or_a_reason_to_have_none(entry: registry.Entry) -> None:
    assert bool(checks_for(entry.model)) != (entry.model.__name__ in WITHOUT_CHECKS)


def test_every_reason_is_of_a_kind_that_there_is() -> None:
    assert set(WITHOUT_CHECKS) <= {entry.model.__name__ for entry in registry.entries()}


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("batch/v1", "Job"),
        ("apps/v1", "StatefulSet"),
        ("v1", "PersistentVolumeClaim"),
        ("serving.knative.dev/v1", "Service"),
        ("gateway.networking.k8s.io/v1alpha2", "UDPRoute"),
        ("gateway.networking.x-k8s.io/v1alpha1", "XMesh"),
    ],
)
def test_an_object_that_the_mesh_has_nothing_to_do_with_is_not_judged(api_version: str, kind: str) -> None:
    answer = validate({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}, "a.yaml")
    assert (answer.is_judged, answer.resource, answer.errors) == (False, None, ())


@pytest.mark.parametrize(
    ("api_version", "kind", "accepted"),
    [
        ("networking.istio.io/v2", "VirtualService", "networking.istio.io/v1 VirtualService"),
        ("networking.istio.io/v1", "VirtualServices", "networking.istio.io/v1 VirtualService"),
        ("v1", "VirtualService", "networking.istio.io/v1 VirtualService"),
        ("apps/v1beta1", "Deployment", "apps/v1 Deployment"),
        ("gateway.networking.k8s.io/v1alpha2", "HTTPRoute", "gateway.networking.k8s.io/v1 HTTPRoute"),
        (7, "Pod", "v1 Pod"),
    ],
)
def test_an_unknown_version_or_kind_of_a_group_of_the_mesh_is_an_error_that_says_what_is_accepted(
    api_version: object, kind: str, accepted: str
) -> None:
    [fault] = validate({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}, "a.yaml").errors
    assert accepted in fault.text
    assert fault.text.startswith("read apiVersion and kind ")


def test_a_name_that_kubernetes_makes_up_is_accepted() -> None:
    given = {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "spec": {"address": "10.0.0.1"}}
    assert validate({**given, "metadata": {"generateName": "vm-"}}, "a.yaml").errors == ()
    for metadata in ({}, {"generateName": ""}, {"generateName": 5}, {"generateName": "A_"}):
        assert [fault.field for fault in validate({**given, "metadata": metadata}, "a.yaml").errors] == [
            "metadata.name"
        ]
