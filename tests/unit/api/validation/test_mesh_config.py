"""What is said of the mesh's own settings, which a ConfigMap holds as a text."""

from __future__ import annotations

import textwrap

import pytest

from agent.api.validation import Validation, validate


def settings(mesh: str = "", key: str = "mesh", name: str = "istio", namespace: str = "istio-system") -> Validation:
    metadata = {"name": name, "namespace": namespace}
    data = {key: textwrap.dedent(mesh)}
    return validate({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, "mesh.yaml")


@pytest.mark.parametrize(
    ("mesh", "field", "says"),
    [
        ("a: [", "data.mesh", "line 2 of the text: not YAML"),
        ("accessLogFile: a\naccessLogFile: b", "data.mesh", "given twice"),
        ("[]", "data.mesh", "accepted is a map"),
        ("a: 1\n---\nb: 2", "data.mesh", "accepted is one"),
        ("trustDomain: a\nproxyListenPort: 0", "data.mesh.proxyListenPort", "line 2 of the text: read 0"),
        (
            "defaultTrafficPolicy: {connectionPool: {}}",
            "data.mesh.defaultTrafficPolicy.connectionPool",
            "tcp, http or both",
        ),
        (
            "defaultTrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
            "data.mesh.defaultTrafficPolicy.outlierDetection.maxEjectionPercent",
            "0 to 100",
        ),
        (
            "defaultHttpRetryPolicy: {attempts: 1, retryOn: sometimes}",
            "data.mesh.defaultHttpRetryPolicy.retryOn",
            "a status code",
        ),
        (
            "localityLbSetting: {failover: [{from: a, to: a}]}",
            "data.mesh.localityLbSetting.failover[0].to",
            "other than",
        ),
        (
            "defaultConfig: {tracing: {zipkin: {address: 'a:1'}, tlsSettings: {mode: MUTUAL, privateKey: /k}}}",
            "data.mesh.defaultConfig.tracing.tlsSettings.clientCertificate",
            "mode MUTUAL needs it",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_line_of_the_text(mesh: str, field: str, says: str) -> None:
    found = {fault.field: fault.text for fault in settings(mesh).errors}
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    ("mesh", "field", "says"),
    [
        ("accesLogFile: /dev/stdout", "data.mesh.accesLogFile", "line 1 of the text: unknown field; it is left out"),
        (
            "extensionProviders: [{name: a, prometheus: {}}, {name: a, prometheus: {}}]",
            "data.mesh.extensionProviders",
            "there 2 times",
        ),
        (
            "defaultConfig: {proxyMetadata: {ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}}",
            "data.mesh.defaultConfig.proxyMetadata.ISTIO_META_DNS_AUTO_ALLOCATE",
            "deprecated",
        ),
        ("tlsDefaults: {ecdhCurves: [P-1]}", "data.mesh.tlsDefaults.ecdhCurves[0]", "one of P-224"),
        ("tlsDefaults: {ecdhCurves: [P-256, P-256]}", "data.mesh.tlsDefaults.ecdhCurves[1]", "given already"),
    ],
)
def test_what_istio_leaves_out_or_hardly_means_is_told(mesh: str, field: str, says: str) -> None:
    answer = settings(mesh)
    assert answer.errors == ()
    found = {fault.field: fault.text for fault in answer.warnings}
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    "mesh",
    [
        "",
        "accessLogFile: /dev/stdout\ntrustDomain: example.com",
        "localityLbSetting: {failover: [{from: a, to: b}]}",
        "defaultHttpRetryPolicy: {attempts: 1, retryOn: '5xx,503'}",
        "tlsDefaults: {ecdhCurves: [P-256, X25519MLKEM768]}",
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(mesh: str) -> None:
    answer = settings(mesh)
    assert (answer.errors, answer.warnings) == ((), ())


def test_the_networks_are_looked_at_too() -> None:
    found = settings("networks: {a: {gateways: [{address: 10.0.0.1, port: 0}]}}", key="meshNetworks").errors
    assert [fault.field for fault in found] == ["data.meshNetworks.networks.a.gateways[0].port"]


def test_a_revision_s_settings_are_looked_at_and_nobody_else_s_are() -> None:
    assert settings("proxyListenPort: 0", name="istio-canary").errors
    assert not settings("proxyListenPort: 0", name="other").errors
    assert not settings("proxyListenPort: 0", namespace="shop").errors
