import pytest

from agent.apiserver import requests
from agent.apiserver.requests import Request
from agent.kube import AUTHORIZATION_POLICY, NAMESPACE, POD, SYSTEM_CONFIG_MAP, Kind, Object

POLICY_PATH = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/web"
POD_STATUS = "/api/v1/namespaces/shop/pods/web/status"
ANNOTATED = {"metadata": {"annotations": {"a": "b"}}}
WITH_STATUS = {"status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("kind", "namespace", "path"),
    [
        (POD, "", "/api/v1/pods"),
        (POD, "shop", "/api/v1/namespaces/shop/pods"),
        (NAMESPACE, "", "/api/v1/namespaces"),
        (SYSTEM_CONFIG_MAP, "", "/api/v1/namespaces/istio-system/configmaps"),
        (AUTHORIZATION_POLICY, "", "/apis/security.istio.io/v1/authorizationpolicies"),
    ],
)
def test_where_objects_are(kind: Kind, namespace: str, path: str) -> None:
    assert requests.collection(kind, namespace) == path


@pytest.mark.parametrize(
    ("kind", "patch", "wanted"),
    [
        (AUTHORIZATION_POLICY, ANNOTATED, [Request(POLICY_PATH, ANNOTATED)]),
        (AUTHORIZATION_POLICY, WITH_STATUS, [Request(f"{POLICY_PATH}/status", WITH_STATUS)]),
        (
            AUTHORIZATION_POLICY,
            ANNOTATED | WITH_STATUS,
            [Request(POLICY_PATH, ANNOTATED), Request(f"{POLICY_PATH}/status", WITH_STATUS)],
        ),
        (AUTHORIZATION_POLICY, {}, [Request(POLICY_PATH, {})]),
        (POD, ANNOTATED | WITH_STATUS, [Request(POD_STATUS, ANNOTATED | WITH_STATUS)]),
        (POD, {"spec": {}}, [Request("/api/v1/namespaces/shop/pods/web", {"spec": {}})]),
    ],
    ids=["metadata", "status", "both", "nothing", "a pod's metadata and status", "a pod's spec"],
)
def test_which_requests_a_patch_takes(kind: Kind, patch: Object, wanted: list[Request]) -> None:
    assert requests.patches(kind, "shop", "web", patch, None) == wanted


def test_every_request_of_a_patch_is_for_the_object_that_was_meant() -> None:
    made = requests.patches(AUTHORIZATION_POLICY, "shop", "web", ANNOTATED | WITH_STATUS, "1")
    assert [request.body["metadata"]["uid"] for request in made] == ["1", "1"]
    assert made[0].body["metadata"]["annotations"] == {"a": "b"}


def test_an_object_of_a_list_is_made_whole() -> None:
    listed = {"metadata": {"name": "web", "managedFields": [{}]}, "spec": {}}
    assert requests.whole(POD, listed) == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {}}
