"""Which kinds are read, in which versions, and at what cost."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from agent.api import istio, registry
from agent.api.gateway_api import kinds as gateway_api
from agent.api.kubernetes import parse
from agent.api.networking.gateway import Gateway as ClassicGateway
from agent.errors import InvalidObjectError
from agent.kube import KINDS
from tests.support.gateway_objects import a_gateway, an_http_route


def test_every_kind_is_found_in_each_of_its_versions_and_in_no_other() -> None:
    known = list(registry.entries())
    assert len({(entry.api_version, entry.model.__name__) for entry in known}) == len(known)
    assert {entry.model for entry in known} >= {*istio.KINDS, *gateway_api.KINDS}
    for entry in known:
        assert registry.find(entry.api_version, entry.model.__name__) is entry
        assert registry.find(f"{entry.api_version}x", entry.model.__name__) is None


def test_every_kind_that_is_watched_is_read_and_of_the_same_scope() -> None:
    for kind in KINDS:
        for version in (kind.api_version, *kind.older_versions):
            entry = registry.find(version, kind.name)
            assert entry is not None and entry.is_namespaced is kind.is_namespaced, kind


def test_the_two_kinds_of_gateway_are_told_apart_by_their_group() -> None:
    classic = registry.find("networking.istio.io/v1", "Gateway")
    assert classic is not None and classic.model is ClassicGateway
    assert not isinstance(parse(a_gateway(), "f"), ClassicGateway)


@pytest.mark.parametrize(
    ("api_version", "kind", "accepted"),
    [
        ("apps/v1beta1", "Deployment", "apps/v1 Deployment"),
        ("gateway.networking.k8s.io/v1", "UDPRoute", "gateway.networking.k8s.io/v1 GatewayClass, "),
        ("example.com/v1", "Thing", "v1 Namespace, v1 Node, v1 Pod, "),
        (None, ["Pod"], "v1 Namespace, v1 Node, v1 Pod, "),
    ],
)
def test_an_unknown_kind_is_refused_with_the_nearest_that_are_known(
    api_version: object, kind: object, accepted: str
) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        parse({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}, "f")
    assert f"; accepted are {accepted}" in str(caught.value)


def test_a_cluster_scoped_object_gets_no_namespace_and_any_other_the_default_one() -> None:
    spec = {"controllerName": "example.com/a"}
    given = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "a"},
        "spec": spec,
    }
    assert parse(given, "f").full_name == "a"
    assert parse({**an_http_route(), "metadata": {"name": "a"}}, "f").full_name == "default/a"


def test_reading_pods_does_not_import_the_models_of_the_mesh() -> None:
    program = """
import sys
from agent.api.kubernetes import parse
parse({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]}}, "f")
print([name for name in sys.modules if name.startswith(("agent.api.gateway_api", "agent.api.networking"))])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[]\n"


def test_ten_thousand_routes_are_read_in_less_than_two_seconds() -> None:
    rule = {
        "matches": [{"path": {"value": "/a"}}, {"headers": [{"name": "x", "value": "y"}]}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}],
        "backendRefs": [{"name": "a", "port": 80, "weight": 9}, {"name": "b", "port": 80}],
        "timeouts": {"request": "10s"},
    }
    route = an_http_route(rule, hostnames=["a.example.com"])
    parse(route, "f")
    started = time.process_time()
    for _ in range(10_000):
        parse(route, "f")
    assert time.process_time() - started < 2
