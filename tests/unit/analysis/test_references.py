"""What one object may say of another: each way of naming something that is not there, and of naming what is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.analysis.corpus import Corpus
from agent.analysis.hosts import covers, overlap, resolve
from agent.analysis.run import Material, analyze
from agent.api.configuration import Secret

WEB = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, name: http}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}
"""
MESH = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "extensionProviders: [{name: old, lightstep: {service: x.example.com, port: 80, accessToken: t}}]"}
"""
EDGE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""


def route(spec: str) -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: route, namespace: shop}\n"
    return f"{head}spec: {{hosts: [shop.example.com], {spec}}}\n"


def http_route(parent: str, backend: str = "{name: web, port: 80}") -> str:
    head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route, namespace: shop}\n"
    return f"{head}spec: {{parentRefs: [{parent}], rules: [{{backendRefs: [{backend}]}}]}}\n"


def policy(spec: str) -> str:
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: guard, namespace: shop}\n"
    return f"{head}spec: {{{spec}}}\n"


def telemetry(spec: str) -> str:
    head = "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: logs, namespace: shop}\n"
    return f"{head}spec: {{{spec}}}\n"


def found(*texts: str, unread: Sequence[type] = ()) -> list[tuple[str, str]]:
    material = Material(unread=set(unread))
    material.add_text("---\n".join(texts), "all.yaml")
    return [(each.code, each.text) for each in analyze(material)]


MISSING = {
    "port of a service": (
        route("http: [{route: [{destination: {host: web, port: {number: 81}}}]}]"),
        "port 81 of host web, which does not exist; it has 80",
    ),
    "subset": (
        route("http: [{route: [{destination: {host: web, subset: v1}}]}]"),
        "subset v1 of host web, which does not exist; no DestinationRule declares it",
    ),
    "mirror": (
        route("http: [{route: [{destination: {host: web}}], mirror: {host: copy}}]"),
        "host copy, which does not exist",
    ),
    "destination of TCP": (route("tcp: [{route: [{destination: {host: db}}]}]"), "host db, which does not exist"),
    "name of Kubernetes' DNS": (
        route("http: [{route: [{destination: {host: web.shop}}]}]"),
        "host web.shop, which does not exist; Service web of namespace shop is written web.shop.svc.cluster.local",
    ),
    "delegate": (
        route("http: [{delegate: {name: rest}}]"),
        "VirtualService shop/rest, which does not exist",
    ),
    "gateway": (
        route("gateways: [other/edge], http: [{route: [{destination: {host: web}}]}]"),
        "Gateway other/edge, which does not exist",
    ),
    "gateway that is of the Gateway API": (
        EDGE + "---\n" + route("gateways: [edge], http: [{route: [{destination: {host: web}}]}]"),
        "Gateway shop/edge, which does not exist; the one of the Gateway API with that name takes HTTPRoutes",
    ),
    "parent": (http_route("{name: front}"), "Gateway shop/front, which does not exist"),
    "listener": (
        EDGE + "---\n" + http_route("{name: edge, sectionName: https}"),
        "listener https of Gateway shop/edge, which does not exist; it has http 80",
    ),
    "backend": (
        EDGE + "---\n" + http_route("{name: edge}", "{name: api, namespace: other, port: 80}"),
        "Service other/api, which does not exist",
    ),
    "port of a backend": (
        EDGE + "---\n" + http_route("{name: edge}", "{name: web, port: 8080}"),
        "port 8080 of Service shop/web, which does not exist; it has 80",
    ),
    "provider of telemetry": (
        MESH + "---\n" + telemetry("tracing: [{providers: [{name: new}]}]"),
        "extension provider new, which does not exist",
    ),
    "pods of telemetry": (
        telemetry("selector: {matchLabels: {app: wbe}}, tracing: [{randomSamplingPercentage: 1}]"),
        "a pod with labels app=wbe, which does not exist",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_does_not_exist_is_named(what: str) -> None:
    text, told = MISSING[what]
    assert found(WEB, text) == [("IST0101", f"it refers to {told}")]


def test_the_namespaces_of_a_policy_are_known_by_what_is_in_them() -> None:
    closed = "apiVersion: v1\nkind: Namespace\nmetadata: {name: closed, labels: {istio.io/dataplane-mode: ambient}}\n"
    rule = "rules: [{from: [{source: {namespaces: [shop, 'clo*', istio-system, blog]}}]}]"
    text = policy(rule).replace("namespace: shop", "namespace: closed")
    assert found(WEB, closed, text) == [("IST0101", "it refers to namespace blog, which does not exist")]
    assert found(WEB, text) == []  # without any Namespace nobody knows which there are


def test_a_provider_on_its_way_out_is_told() -> None:
    (only,) = found(MESH, telemetry("tracing: [{providers: [{name: old}]}]"))
    assert only[0] == "IST0002"


def test_nothing_of_a_kind_that_could_not_be_read_is_missing() -> None:
    secret = EDGE.replace("port: 80, protocol: HTTP", "port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}")
    assert found(secret) == [("IST0101", "it refers to Secret shop/c, which does not exist")]
    assert found(secret, unread=[Secret]) == []


@pytest.mark.parametrize(
    ("namespace", "host", "is_found"),
    [
        ("shop", "api.example.com", True),
        ("blog", "api.example.com", True),
        ("docs", "api.example.com", False),  # to which it is not exported
        ("shop", "deep.api.example.com", False),
        ("docs", "cdn.example.net", True),  # of *.example.net
        ("docs", "a.cdn.example.net", True),
        ("docs", "example.net", False),
        ("docs", "*.cdn.example.net", True),
    ],
)
def test_a_service_entry_is_found_where_it_is_exported_to(namespace: str, host: str, is_found: bool) -> None:
    material = Material()
    head = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME, namespace: shop}\n"
    ports = "ports: [{number: 443, name: tls, protocol: TLS}]"
    material.add_text(
        head.replace("NAME", "api")
        + f"spec: {{hosts: [api.example.com], exportTo: [., blog], {ports}}}\n---\n"
        + head.replace("NAME", "cdn")
        + f"spec: {{hosts: ['*.example.net'], {ports}}}\n",
        "all.yaml",
    )
    assert (resolve(Corpus(material.entries.values()), namespace, host) is not None) is is_found


def test_wildcards_cover_what_ends_like_them() -> None:
    assert covers("*.example.com", "a.example.com") and covers("*.example.com", "*.a.example.com")
    assert not covers("*.example.com", "example.com") and not covers("a.example.com", "*.example.com")
    assert overlap("a.example.com", "*.example.com") and not overlap("*.example.com", "*.example.net")


def test_two_kinds_with_one_name_are_two_objects() -> None:
    material = Material()
    head = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\n"
    istios = head + "spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n"
    material.add_text(f"{EDGE}---\n{istios}", "all.yaml")
    assert len(material.entries) == 2
    assert {type(each.value).__module__ for each in material.entries.values()} == {
        "agent.api.gateway_api.gateway",
        "agent.api.networking.gateway",
    }
