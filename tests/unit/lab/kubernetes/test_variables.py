"""What a container's environment is made of."""

from __future__ import annotations

import base64

import pytest

from agent.api.kubernetes import Service, parse
from agent.api.pods import runnable_pod
from agent.errors import InvalidObjectError, NotFoundError
from agent.kube import Kind, Object
from agent.lab.kubernetes.facts import Facts
from agent.lab.kubernetes.variables import command, environment

CONTENT = {
    ("ConfigMap", "settings"): {"data": {"COLOUR": "red"}, "binaryData": {"RAW": base64.b64encode(b"raw").decode()}},
    ("Secret", "db"): {"data": {"password": base64.b64encode(b"geheim").decode()}},
}


def keys(kind: Kind, namespace: str, name: str) -> Object | None:
    return CONTENT.get((kind.name, name)) if namespace == "shop" else None


def facts(**container: object) -> Facts:
    resources = {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}
    main = {"name": "main", "command": ["run", "$(COLOUR)", "$$(COLOUR)", "$(UNKNOWN)"], "resources": resources}
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}}
    spec = {"containers": [{**main, **container}], "nodeName": "node-1", "serviceAccountName": "seller"}
    pod = runnable_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "test")
    return Facts(pod, ["10.0.0.1", "fd00::1"], ["10.70.0.11"])


def resolved(found: Facts, *services: Service) -> dict[str, str]:
    return environment(found.pod.spec.containers[0], found, keys, services)


def a_service(namespace: str, name: str, address: str) -> Service:
    spec = {"clusterIP": address, "ports": [{"name": "https", "port": 443}]}
    metadata = {"name": name, "namespace": namespace}
    found = parse({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}, "test")
    assert isinstance(found, Service)
    return found


def test_fields_and_resources_of_the_pod() -> None:
    def field(path: str) -> Object:
        return {"name": path, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    def resource(name: str, divisor: str) -> Object:
        return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": name, "divisor": divisor}}}

    paths = ["metadata.labels['app']", "status.podIP", "status.podIPs", "status.hostIP", "spec.nodeName"]
    variables = [*map(field, paths), resource("limits.memory", "1Mi"), resource("requests.cpu", "0")]
    assert resolved(facts(env=variables)) == {
        "metadata.labels['app']": "web",
        "status.podIP": "10.0.0.1",
        "status.podIPs": "10.0.0.1,fd00::1",
        "status.hostIP": "10.70.0.11",
        "spec.nodeName": "node-1",
        "limits.memory": "64",
        "requests.cpu": "1",
    }


def test_keys_of_config_maps_and_secrets() -> None:
    password = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    whole = [{"prefix": "MY_", "configMapRef": {"name": "settings"}}]
    assert resolved(facts(env=[password], envFrom=whole)) == {
        "PASSWORD": "geheim",
        "MY_COLOUR": "red",
        "MY_RAW": "raw",
    }


def test_what_is_missing_is_named_unless_it_is_optional() -> None:
    reference = {"name": "db", "key": "user"}
    variable = {"name": "USER", "valueFrom": {"secretKeyRef": reference}}
    with pytest.raises(NotFoundError, match="Secret shop/db has no key 'user'"):
        resolved(facts(env=[variable]))
    assert resolved(facts(env=[{"name": "USER", "valueFrom": {"secretKeyRef": {**reference, "optional": True}}}])) == {}
    with pytest.raises(NotFoundError, match="ConfigMap shop/other does not exist"):
        resolved(facts(envFrom=[{"configMapRef": {"name": "other"}}]))


def test_a_field_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidObjectError, match="accepted are metadata"):
        resolved(facts(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.generation"}}}]))


def test_the_api_server_s_service_is_told_everywhere_and_others_in_their_namespace() -> None:
    services = [
        a_service("default", "kubernetes", "10.96.0.1"),
        a_service("shop", "my-db", "10.96.0.20"),
        a_service("other", "far", "10.96.0.21"),
    ]
    found = resolved(facts(), *services)
    assert (found["KUBERNETES_SERVICE_HOST"], found["KUBERNETES_SERVICE_PORT"]) == ("10.96.0.1", "443")
    assert found["MY_DB_PORT_443_TCP"] == "tcp://10.96.0.20:443"
    assert found["MY_DB_SERVICE_PORT_HTTPS"] == "443"
    assert not [name for name in found if name.startswith("FAR")]


def test_references_in_the_command_line_are_replaced() -> None:
    assert command(facts().pod.spec.containers[0], {"COLOUR": "red"}) == ["run", "red", "$(COLOUR)", "$(UNKNOWN)"]
