"""Objects of the Gateway API as manifests give them, for tests."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.kubernetes import parse
from agent.errors import InvalidObjectError

Object = dict[str, Any]


def an_object(kind: str, spec: Object, version: str = "v1") -> Object:
    return {
        "apiVersion": f"gateway.networking.k8s.io/{version}",
        "kind": kind,
        "metadata": {"name": "it", "namespace": "shop"},
        "spec": spec,
    }


def a_listener(**given: Any) -> Object:
    return {"name": "http", "port": 80, "protocol": "HTTP", **given}


def a_gateway(*listeners: Object, **given: Any) -> Object:
    return an_object("Gateway", {"gatewayClassName": "istio", "listeners": list(listeners) or [a_listener()], **given})


def an_http_route(*rules: Object, **given: Any) -> Object:
    return an_object(
        "HTTPRoute", {"parentRefs": [{"name": "web"}], **({"rules": list(rules)} if rules else {}), **given}
    )


def a_grpc_route(*rules: Object, **given: Any) -> Object:
    return an_object("GRPCRoute", {"parentRefs": [{"name": "web"}], "rules": list(rules), **given})


def with_filters(*filters: Object) -> Object:
    return an_http_route({"filters": list(filters)})


def a_path(value: str, type: str | None = None) -> Object:
    return an_http_route({"matches": [{"path": {"value": value, **({"type": type} if type else {})}}]})


def a_stream_route(kind: str, version: str = "v1", **given: Any) -> Object:
    names = {"hostnames": ["a.example.com"]} if kind == "TLSRoute" else {}
    rules = [{"backendRefs": [{"name": "a", "port": 80}]}]
    return an_object(kind, {"parentRefs": [{"name": "web"}], **names, "rules": rules, **given}, version)


def a_tls_policy(*targets: Object, **validation: Any) -> Object:
    trust = (
        {}
        if {"caCertificateRefs", "wellKnownCACertificates"} & validation.keys()
        else {"wellKnownCACertificates": "System"}
    )
    return an_object(
        "BackendTLSPolicy",
        {
            "targetRefs": list(targets) or [{"group": "", "kind": "Service", "name": "a"}],
            "validation": {"hostname": "a.example.com", **trust, **validation},
        },
    )


def faults_of(given: Object) -> dict[str, str]:
    """What is wrong, by field; fails if nothing is."""
    with pytest.raises(InvalidObjectError) as caught:
        parse(given, "f")
    return {fault.field: fault.text for fault in caught.value.faults}
