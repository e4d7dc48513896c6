"""What is said of Sidecars that can be read and make no sense, and of those that nearly make none."""

from __future__ import annotations

import pytest

from tests.support.validation import errors, warnings

KIND = "networking.istio.io/v1/Sidecar"
INGRESS = "spec.ingress[0]"
EGRESS = "spec.egress[0]"
PORT = "{number: 80, protocol: HTTP, name: a}"


def with_ingress(port: str = PORT, **more: str) -> str:
    return f"ingress: [{{port: {port}{''.join(f', {field}: {value}' for field, value in more.items())}}}]"


def with_egress(hosts: str = "['./*']", **more: str) -> str:
    return f"egress: [{{hosts: {hosts}{''.join(f', {field}: {value}' for field, value in more.items())}}}]"


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("workloadSelector: {labels: {a: b}}", "spec", "at least one of ingress"),
        (
            f"{with_egress()}\nworkloadSelector: {{labels: {{'*': b}}}}",
            "spec.workloadSelector.labels.*",
            "without a wildcard",
        ),
        ("inboundConnectionPool: {}", "spec.inboundConnectionPool", "empty"),
        (with_ingress("{protocol: HTTP}"), f"{INGRESS}.port.number", "1 to 65535"),
        (with_ingress("{number: 1, targetPort: 1}"), f"{INGRESS}.port.targetPort", "without effect"),
        (with_ingress("{number: 1, name: a_b}"), f"{INGRESS}.port.name", "a DNS label"),
        (with_ingress("{number: 1, protocol: SMTP}"), f"{INGRESS}.port.protocol", "one of GRPC"),
        (with_ingress(bind="a"), f"{INGRESS}.bind", "an IPv4 or IPv6 address"),
        (f"ingress: [{{port: {PORT}}}, {{port: {PORT}}}]", "spec.ingress[1].port.number", "each port once"),
        (with_ingress(defaultEndpoint="'10.0.0.1:80'"), f"{INGRESS}.defaultEndpoint", "127.0.0.1:PORT"),
        (with_ingress(defaultEndpoint="'127.0.0.1:70000'"), f"{INGRESS}.defaultEndpoint", "127.0.0.1:PORT"),
        (with_ingress(defaultEndpoint="'unix://a'"), f"{INGRESS}.defaultEndpoint", "an absolute path"),
        (with_ingress(tls="{mode: PASSTHROUGH}"), f"{INGRESS}.port.protocol", "HTTPS or TLS"),
        (
            with_ingress("{number: 1, protocol: TLS}", tls="{mode: AUTO_PASSTHROUGH}"),
            f"{INGRESS}.tls.mode",
            "another mode",
        ),
        (
            with_ingress("{number: 1, protocol: TLS}", tls="{mode: SIMPLE, credentialName: a}"),
            f"{INGRESS}.tls.credentialName",
            "in a Sidecar",
        ),
        (with_ingress(connectionPool="{}"), f"{INGRESS}.connectionPool", "empty"),
        (with_egress("[]"), f"{EGRESS}.hosts", "at least one NAMESPACE/HOST"),
        (with_egress("[a.com]"), f"{EGRESS}.hosts[0]", "NAMESPACE/HOST"),
        (with_egress("[A/b.com]"), f"{EGRESS}.hosts[0]", "NAMESPACE may be"),
        (with_egress("[a/b]"), f"{EGRESS}.hosts[0]", "a full name"),
        (with_egress("['a/*b.com']"), f"{EGRESS}.hosts[0]", "whole labels"),
        (with_egress(port="{protocol: HTTP}"), f"{EGRESS}.bind", "unix:// and a path"),
        (with_egress(port="{number: 1}", bind="'unix:///a'"), f"{EGRESS}.bind", "a socket has port 0"),
        (
            with_egress(port="{protocol: HTTP}", bind="'unix:///a'", captureMode="IPTABLES"),
            f"{EGRESS}.captureMode",
            "DEFAULT or NONE",
        ),
        ("egress: [{hosts: ['./*']}, {hosts: ['./*']}]", f"{EGRESS}.port", "only the last listener"),
        (
            "egress: [{port: {number: 1}, hosts: ['./*']}, {port: {number: 1}, hosts: ['./*']}]",
            "spec.egress[1].port.number",
            "each port once",
        ),
        (
            "egress: [{port: {}, bind: 'unix:///a', hosts: ['./*']}, {port: {}, bind: 'unix:///a', hosts: ['./*']}]",
            "spec.egress[1].bind",
            "each socket once",
        ),
        (
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: a.com, port: {number: 1}}}",
            "spec.outboundTrafficPolicy.egressProxy",
            "ALLOW_ANY only",
        ),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.com}}",
            "spec.outboundTrafficPolicy.egressProxy.port",
            "required",
        ),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: '*.a.com', port: {number: 1}}}",
            "spec.outboundTrafficPolicy.egressProxy.host",
            "a DNS name",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(spec: str, field: str, says: str) -> None:
    found = errors(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    "spec",
    [
        with_ingress(),
        with_ingress(bind="'::'", defaultEndpoint="'[::1]:80'"),
        with_ingress(defaultEndpoint="':80'"),
        with_ingress(defaultEndpoint="'unix://@a'"),
        with_ingress(connectionPool="{http: {}}"),
        with_ingress(
            "{number: 1, protocol: TLS}", tls="{mode: SIMPLE, serverCertificate: /c, privateKey: /k}", bind="10.0.0.1"
        ),
        with_egress("['./*', 'other/*.a.com', '*/b.com', '~/*', '~dev/*']"),
        with_egress(port="{}", bind="'unix:///a'"),
        "egress: [{port: {number: 1}, hosts: ['./*']}, {hosts: ['./*']}]",
        "inboundConnectionPool: {tcp: {}}",
        "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.com, port: {number: 1}}}",
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(spec: str) -> None:
    assert warnings(KIND, spec) == {}


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (f"{with_egress()}\nworkloadSelector: {{}}", "spec.workloadSelector", "no labels"),
        (
            with_ingress("{number: 1, protocol: TCP}", connectionPool="{http: {}}"),
            f"{INGRESS}.connectionPool.http",
            "not HTTP",
        ),
        (with_egress("[a/b.com, a/b.com]"), f"{EGRESS}.hosts[1]", "cover"),
        (with_egress("[a/b.com, 'a/*']"), f"{EGRESS}.hosts[1]", "cover"),
        (with_egress("['./*', shop/a.com]"), f"{EGRESS}.hosts[1]", "cover"),
        (with_egress("['*/*', a/b.com]"), f"{EGRESS}.hosts", "add nothing"),
    ],
)
def test_what_is_hardly_meant_is_told(spec: str, field: str, says: str) -> None:
    found = warnings(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]
