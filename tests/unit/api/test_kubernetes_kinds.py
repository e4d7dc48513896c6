"""The kinds of Kubernetes that only the controller and the analyzers read."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.api_server import CustomResourceDefinition, MutatingWebhookConfiguration
from agent.api.cluster_network import EndpointSlice, Ingress, IngressClass, NetworkPolicy
from agent.api.configuration import MOST_BYTES, ConfigMap, Secret
from agent.api.kubernetes import parse
from agent.errors import InvalidObjectError
from tests.support.gateway_objects import Object, faults_of

HIDDEN = "c2VjcmV0LXZhbHVl"  # base64 of secret-value


def an_object(api_version: str, kind: str, **given: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "it", "namespace": "shop"}, **given}


def a_secret(**given: Any) -> Object:
    return an_object("v1", "Secret", **given)


def test_a_secret_gives_its_values_decoded_and_those_given_as_text_first() -> None:
    secret = parse(a_secret(type="kubernetes.io/tls", data={"a": HIDDEN, "b": "eA=="}, stringData={"b": "y"}), "f")
    assert isinstance(secret, Secret)
    assert secret.type == "kubernetes.io/tls"
    assert secret.values == {"a": b"secret-value", "b": b"y"}


def test_a_secret_shows_no_value() -> None:
    shown = repr(parse(a_secret(data={"a": HIDDEN}, stringData={"b": "open"}), "f"))
    assert "secret-value" not in shown and HIDDEN not in shown and "open" not in shown


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (a_secret(data={"a": "secret-value!"}), "data.a"),
        (a_secret(data={"a": ["secret-value"]}), "data.a"),
        (a_secret(data="secret-value"), "data"),
        (a_secret(data={"a": "c2VjcmV0" * (MOST_BYTES // 6 + 1)}), "data"),
        (a_secret(stringData={"a": {"b": "secret-value"}}), "stringData.a"),
    ],
)
def test_a_broken_secret_is_refused_without_its_value(given: Object, field: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        parse(given, "f")
    assert [fault.field for fault in caught.value.faults] == [field]
    assert "secret-value" not in str(caught.value) and "c2VjcmV0" not in str(caught.value)


def test_a_config_map_is_read_within_the_bounds_of_an_api_server() -> None:
    given = an_object("v1", "ConfigMap", data={"mesh": "trustDomain: td"}, binaryData={"b": HIDDEN})
    found = parse(given, "f")
    assert isinstance(found, ConfigMap)
    assert (found.data, found.binary_data) == ({"mesh": "trustDomain: td"}, {"b": b"secret-value"})
    assert "in all values together" in faults_of({**given, "data": {"a": "x" * (MOST_BYTES + 1)}})["data"]


def test_endpoints_count_as_ready_unless_they_say_otherwise() -> None:
    endpoints = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": None}, "targetRef": {"kind": "Pod", "name": "a"}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": True}, "zone": "z", "nodeName": "n"},
        {"addresses": ["10.0.0.3"], "hints": {"forZones": [{"name": "z"}]}},
    ]
    ports = [{"name": "http", "port": 8080, "appProtocol": "http"}, {"name": "any"}]
    found = parse(
        an_object("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=endpoints, ports=ports), "f"
    )
    assert isinstance(found, EndpointSlice)
    assert [endpoint.conditions.ready for endpoint in found.endpoints] == [True, False, True]
    assert found.endpoints[2].hints.for_zones[0].name == "z"
    assert [(port.name, port.port) for port in found.ports] == [("http", 8080), ("any", None)]


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({"podSelector": {}}, ("Ingress",)),
        ({"podSelector": {}, "egress": [{}]}, ("Ingress", "Egress")),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, ("Egress",)),
    ],
)
def test_a_network_policy_closes_the_directions_that_kubernetes_closes(
    spec: Object, directions: tuple[str, ...]
) -> None:
    policy = parse(an_object("networking.k8s.io/v1", "NetworkPolicy", spec=spec), "f")
    assert isinstance(policy, NetworkPolicy)
    assert policy.spec.directions == directions


def test_a_network_policys_peers_and_ports_are_read() -> None:
    peers = [
        {"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]
    ports = [{"port": 15008}, {"port": 8000, "endPort": 9000}, {"port": "http"}]
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": peers, "ports": ports}]}
    policy = parse(an_object("networking.k8s.io/v1", "NetworkPolicy", spec=spec), "f")
    assert isinstance(policy, NetworkPolicy)
    (allowed,) = policy.spec.ingress
    assert allowed.from_[0].namespace_selector is not None and allowed.from_[0].namespace_selector.matches({"a": "b"})
    assert allowed.from_[1].ip_block is not None and allowed.from_[1].ip_block.except_ == ("10.1.0.0/16",)
    assert [(port.port, port.end_port) for port in allowed.ports] == [(15008, None), (8000, 9000), ("http", None)]


def test_a_block_that_is_none_is_refused() -> None:
    spec = {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/40"}}]}]}
    faults = faults_of(an_object("networking.k8s.io/v1", "NetworkPolicy", spec=spec))
    assert faults == {"spec.egress[0].to[0].ipBlock.cidr": "read '10.0.0.0/40': accepted is a CIDR block"}


def test_an_ingress_and_its_class_are_read() -> None:
    path = {"path": "/a", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    spec = {
        "ingressClassName": "istio",
        "rules": [{"host": "a.b", "http": {"paths": [path]}}],
        "tls": [{"secretName": "s"}],
    }
    ingress = parse(an_object("networking.k8s.io/v1", "Ingress", spec=spec), "f")
    found = parse(
        an_object("networking.k8s.io/v1", "IngressClass", spec={"controller": "istio.io/ingress-controller"}), "f"
    )
    assert isinstance(ingress, Ingress) and isinstance(found, IngressClass)
    assert ingress.spec.rules[0].http is not None
    service = ingress.spec.rules[0].http.paths[0].backend.service
    assert service is not None and (service.name, service.port.number) == ("web", 80)
    assert found.spec.controller == "istio.io/ingress-controller"


def test_a_webhook_says_where_it_is_and_what_it_sees() -> None:
    client = {"service": {"namespace": "istio-system", "name": "istiod", "path": "/inject"}, "caBundle": "eA=="}
    hook = {"name": "a.b.c", "clientConfig": client, "namespaceSelector": {"matchLabels": {"on": "yes"}}, "rules": [{}]}
    found = parse(an_object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", webhooks=[hook]), "f")
    assert isinstance(found, MutatingWebhookConfiguration)
    (webhook,) = found.webhooks
    assert webhook.client_config.service is not None and webhook.client_config.service.port == 443
    assert webhook.namespace_selector.matches({"on": "yes"}) and not webhook.namespace_selector.matches({})
    assert webhook.object_selector.matches({}) and webhook.failure_policy == "Fail"


def test_a_definition_of_a_resource_says_which_versions_are_served() -> None:
    versions = [
        {"name": name, "served": served, "storage": served} for name, served in (("v1", True), ("v1alpha2", False))
    ]
    names = {"kind": "TCPRoute", "plural": "tcproutes"}
    spec = {"group": "gateway.networking.k8s.io", "names": names, "scope": "Namespaced", "versions": versions}
    found = parse(an_object("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec=spec), "f")
    assert isinstance(found, CustomResourceDefinition)
    assert found.served_versions == ("v1",)
