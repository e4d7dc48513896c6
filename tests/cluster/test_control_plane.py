"""What the other tests of this lane rely on: the control plane behaves as a cluster's."""

import json
import re
from typing import Any

import pytest

from tests.support.cluster import ControlPlane, KubectlError
from tests.support.cluster_program import made


def object_of(plane: ControlPlane, *arguments: str) -> Any:
    return json.loads(plane.kubectl(*arguments, "--output=json"))


def test_it_is_the_version_that_was_built(plane: ControlPlane) -> None:
    served = json.loads(plane.kubectl("version", "--output=json"))
    assert served["serverVersion"]["gitVersion"] == served["clientVersion"]["gitVersion"]
    assert served["serverVersion"]["gitVersion"] in made("programs").name


def test_a_service_account_may_do_only_what_a_role_gives_it(plane: ControlPlane, namespace: str) -> None:
    plane.kubectl("create", "serviceaccount", "reader", f"--namespace={namespace}")
    reader = plane.kubeconfig_of(namespace, "reader")
    with pytest.raises(KubectlError, match=f':{namespace}:reader" cannot list resource "pods"'):
        plane.kubectl("get", "pods", f"--namespace={namespace}", kubeconfig=reader)
    plane.kubectl("create", "role", "read", "--verb=list", "--resource=pods", f"--namespace={namespace}")
    binding = ("--role=read", f"--serviceaccount={namespace}:reader", f"--namespace={namespace}")
    plane.kubectl("create", "rolebinding", "read", *binding)
    plane.kubectl("get", "pods", f"--namespace={namespace}", kubeconfig=reader)


@pytest.mark.parametrize(("audience", "is_believed"), [("istio-ca", True), ("another", False)])
def test_a_token_is_believed_for_its_own_audience(
    plane: ControlPlane, namespace: str, audience: str, is_believed: bool
) -> None:
    plane.kubectl("create", "serviceaccount", "web", f"--namespace={namespace}")
    token = plane.kubectl("create", "token", "web", f"--namespace={namespace}", f"--audience={audience}").strip()
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["istio-ca"]},
    }
    answer = json.loads(plane.kubectl("create", "--filename=-", "--output=json", stdin=json.dumps(review)))
    assert answer["status"].get("authenticated", False) is is_believed
    if is_believed:
        assert answer["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:web"


def test_a_deployment_becomes_pods_on_a_node(plane: ControlPlane, namespace: str) -> None:
    capacity = {"cpu": "8", "memory": "16Gi", "pods": "100"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": namespace, "labels": {"kubernetes.io/hostname": namespace}},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    plane.kubectl("create", "--filename=-", stdin=json.dumps(node))
    try:
        plane.kubectl("create", "deployment", "web", "--image=web", "--replicas=2", f"--namespace={namespace}")
        for condition in ("create", "jsonpath={.spec.nodeName}"):
            wait = (
                "wait",
                "pods",
                "--selector=app=web",
                f"--for={condition}",
                "--timeout=20s",
                f"--namespace={namespace}",
            )
            plane.kubectl(*wait)
        pods = object_of(plane, "get", "pods", f"--namespace={namespace}")["items"]
        assert [pod["spec"]["nodeName"] for pod in pods] == [namespace, namespace]
    finally:
        plane.kubectl("delete", "node", namespace)


def test_the_gateway_api_is_checked(plane: ControlPlane, gateway_api: None, namespace: str) -> None:
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"rules": [{"matches": [{"path": {"type": "Prefix", "value": "/"}}]}]},
    }
    with pytest.raises(KubectlError, match=re.escape('path.type: Unsupported value: "Prefix"')):
        plane.kubectl("create", "--filename=-", stdin=json.dumps(route))
