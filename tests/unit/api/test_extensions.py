"""WasmPlugin and TrafficExtension: what is read, and each rule broken and nearly."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.extensions import TrafficExtension, WasmPlugin
from agent.api.kubernetes import parse
from tests.support.gateway_objects import Object, faults_of

IMAGE = "oci://registry.example.com/auth:1"
TARGET = {"kind": "Service", "name": "web"}
WASM = {"url": IMAGE}


def of_kind(kind: str, spec: Object) -> Object:
    metadata = {"name": "it", "namespace": "shop"}
    return {"apiVersion": "extensions.istio.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def a_plugin(**spec: Any) -> Object:
    return of_kind("WasmPlugin", {"url": IMAGE, **spec})


def an_extension(**spec: Any) -> Object:
    return of_kind("TrafficExtension", spec)


def env(*variables: Object) -> Object:
    return a_plugin(vmConfig={"env": list(variables)})


def test_a_plugin_is_read_with_all_it_says() -> None:
    config = {"realm": "a", "inner": {"x": [None, 1]}}
    plugin = parse(
        a_plugin(
            targetRefs=[TARGET],
            sha256="0" * 64,
            imagePullPolicy="Always",
            pluginConfig=config,
            phase="AUTHN",
            priority=-5,
            failStrategy="FAIL_OPEN",
            match=[{"mode": "SERVER", "ports": [{"number": 80}, {"number": 81}]}],
            vmConfig={"env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": "HOST"}]},
            type="NETWORK",
        ),
        "f",
    )
    assert isinstance(plugin, WasmPlugin)
    spec = plugin.spec
    assert [target.name for target in spec.targets] == ["web"]
    assert spec.plugin_config == config
    assert (spec.phase, spec.priority, spec.fail_strategy, spec.type) == ("AUTHN", -5, "FAIL_OPEN", "NETWORK")
    assert [port.number for port in spec.match[0].ports] == [80, 81]
    assert spec.vm_config is not None
    assert [(each.name, each.value_from, each.value) for each in spec.vm_config.env] == [
        ("A", "INLINE", "b"),
        ("B", "HOST", ""),
    ]


def test_an_extension_is_a_module_or_a_script() -> None:
    script = parse(an_extension(lua={"inlineCode": "function envoy_on_request(h) end"}), "f")
    module = parse(an_extension(wasm=WASM, phase="STATS"), "f")
    assert isinstance(script, TrafficExtension) and isinstance(module, TrafficExtension)
    assert script.spec.lua is not None and script.spec.wasm is None
    assert module.spec.wasm is not None and module.spec.wasm.url == IMAGE
    assert (script.spec.phase, script.spec.priority) == ("UNSPECIFIED", None)


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        (a_plugin(selector={}, targetRefs=[TARGET]), "spec", "at most one of selector, targetRef, targetRefs"),
        (a_plugin(targetRef=TARGET, targetRefs=[TARGET]), "spec", "at most one of selector, targetRef, targetRefs"),
        (a_plugin(url="ftp://a/b"), "spec.url", "whose scheme is http, https, oci or file"),
        (a_plugin(url="a b"), "spec.url", "accepted is an image, or a URL"),
        (a_plugin(url=""), "spec.url", "at least 1 character"),
        (of_kind("WasmPlugin", {}), "spec.url", "missing"),
        (a_plugin(sha256="0" * 63), "spec.sha256", "pattern"),
        (a_plugin(phase="FIRST"), "spec.phase", "accepted is 'UNSPECIFIED_PHASE'"),
        (a_plugin(priority=2**31), "spec.priority", "2147483647"),
        (a_plugin(match=[{"ports": [{"number": 80}] * 2}]), "spec.match[0].ports", "each port once"),
        (a_plugin(match=[{"ports": [{"number": 0}]}]), "spec.match[0].ports[0].number", "greater than or equal to 1"),
        (env({"name": "A"}, {"name": "A"}), "spec.vmConfig.env", "each name once"),
        (env({"name": "A", "valueFrom": "HOST", "value": ""}), "spec.vmConfig.env[0]", "only with valueFrom INLINE"),
        (a_plugin(targetRefs=[{**TARGET, "namespace": "a"}]), "spec.targetRefs[0].namespace", "no namespace"),
        (an_extension(), "spec", "exactly one of wasm, lua"),
        (an_extension(wasm=WASM, lua={"inlineCode": "x"}), "spec", "exactly one of wasm, lua"),
        (an_extension(lua={"inlineCode": ""}), "spec.lua.inlineCode", "at least 1 character"),
        (an_extension(wasm=WASM, selector={}, targetRefs=[TARGET]), "spec", "at most one of selector, targetRefs"),
        (an_extension(wasm=WASM, targetRef=TARGET), "spec.targetRef", "unknown field"),
    ],
)
def test_a_broken_rule_is_refused_with_field_and_reason(given: Object, field: str, says: str) -> None:
    faults = faults_of(given)
    assert list(faults) == [field]
    assert says in faults[field]


@pytest.mark.parametrize(
    "given",
    [
        a_plugin(selector={"matchLabels": {"app": "web"}}),
        a_plugin(url="registry.example.com/auth:1"),
        a_plugin(url="localhost:5000/auth"),
        a_plugin(url="HTTPS://example.com/a.wasm"),
        a_plugin(url="file:///opt/a.wasm"),
        a_plugin(sha256=""),
        a_plugin(priority=None),
        env({"name": "A"}, {"name": "B"}),
        env({"name": "A", "valueFrom": "INLINE", "value": ""}),
        an_extension(wasm=WASM, lua=None),
    ],
)
def test_what_only_nearly_breaks_a_rule_is_read(given: Object) -> None:
    assert parse(given, "f").metadata.name == "it"
