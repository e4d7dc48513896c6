"""What is said of Istio's Gateways that can be read and make no sense, and of those that nearly make none."""

from __future__ import annotations

import pytest

from tests.support.validation import errors, warnings

KIND = "networking.istio.io/v1/Gateway"
SERVER = "spec.servers[0]"
HTTPS = "{number: 443, name: https, protocol: HTTPS}"
HTTP = "{number: 80, name: http, protocol: HTTP}"


def with_server(port: str = HTTP, hosts: str = "['*']", **more: str) -> str:
    others = "".join(f", {field}: {value}" for field, value in more.items())
    return f"servers: [{{port: {port}, hosts: {hosts}{others}}}]"


def with_tls(tls: str) -> str:
    return with_server(HTTPS, tls=f"{{{tls}}}")


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("selector: {a: b}", "spec.servers", "at least one server"),
        (with_server(hosts="[]"), f"{SERVER}.hosts", "at least one host"),
        (with_server(hosts="[front]"), f"{SERVER}.hosts[0]", "a full name"),
        (with_server(hosts="['*a.com']"), f"{SERVER}.hosts[0]", "a wildcard for whole labels"),
        (with_server(hosts="[a_b.com]"), f"{SERVER}.hosts[0]", "a DNS name"),
        (with_server(hosts="[A/b.com]"), f"{SERVER}.hosts[0]", "NAMESPACE/HOST"),
        (with_server(hosts="['~/b.com']"), f"{SERVER}.hosts[0]", "NAMESPACE/HOST"),
        (with_server(hosts="[/b.com]"), f"{SERVER}.hosts[0]", "NAMESPACE/HOST"),
        (with_server("{number: 1, name: a, protocol: SMTP}"), f"{SERVER}.port.protocol", "one of GRPC"),
        (with_server("{number: 1, name: '', protocol: TCP}"), f"{SERVER}.port.name", "required"),
        (
            with_server("{number: 1, name: a, protocol: TCP, targetPort: 2}"),
            f"{SERVER}.port.targetPort",
            "without effect",
        ),
        (with_server(bind="a"), f"{SERVER}.bind", "an IPv4 or IPv6 address"),
        (
            f"servers: [{{port: {HTTP}, hosts: ['*']}}, {{port: {HTTP}, hosts: ['*']}}]",
            "spec.servers[1].port.name",
            "each name once",
        ),
        (with_server(HTTPS), f"{SERVER}.tls", "protocol HTTPS needs it"),
        (with_server(tls="{mode: SIMPLE, credentialName: a}"), f"{SERVER}.tls", "plain text"),
        (
            with_server("{number: 1, name: a, protocol: TCP}", tls="{mode: SIMPLE, credentialName: a}"),
            f"{SERVER}.tls",
            "not accepted with protocol TCP",
        ),
        (with_tls("mode: SIMPLE, privateKey: /k"), f"{SERVER}.tls.serverCertificate", "mode SIMPLE needs it"),
        (with_tls("mode: SIMPLE, serverCertificate: /c"), f"{SERVER}.tls.privateKey", "mode SIMPLE needs it"),
        (
            with_tls("mode: MUTUAL, serverCertificate: /c, privateKey: /k"),
            f"{SERVER}.tls.caCertificates",
            "mode MUTUAL needs it",
        ),
        (
            with_tls("mode: OPTIONAL_MUTUAL, serverCertificate: /c, privateKey: /k"),
            f"{SERVER}.tls.caCertificates",
            "mode OPTIONAL_MUTUAL needs it",
        ),
        (
            with_tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: /c}]"),
            f"{SERVER}.tls.tlsCertificates[0].privateKey",
            "needs it",
        ),
        (
            with_tls("mode: SIMPLE, serverCertificate: /c, privateKey: /k, credentialName: a"),
            f"{SERVER}.tls.serverCertificate",
            "beside credentialName",
        ),
        (with_tls("mode: ISTIO_MUTUAL, credentialName: a"), f"{SERVER}.tls.credentialName", "ISTIO_MUTUAL"),
        (
            with_tls("mode: SIMPLE, serverCertificate: /c, privateKey: /k, caCrl: /r"),
            f"{SERVER}.tls.caCrl",
            "asks clients for no certificate",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(spec: str, field: str, says: str) -> None:
    found = errors(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]


def test_the_name_of_a_gateway_is_a_dns_label() -> None:
    assert list(errors(KIND, with_server(), name="front.door")) == ["metadata.name"]


def test_a_socket_needs_an_absolute_path_and_no_port() -> None:
    assert list(errors(KIND, with_server(bind="'unix://a'"))) == [f"{SERVER}.bind"]
    assert "a socket has none" in errors(KIND, with_server(bind="'unix:///a'"))[f"{SERVER}.bind"]


@pytest.mark.parametrize(
    "spec",
    [
        with_server(),
        with_server(hosts="['*.a.com', './b.com', '*/c.com', shop/d.com, shop/*]"),
        with_server(hosts="[10.0.0.1, '::1']"),
        with_server(bind="0.0.0.0"),
        with_server("{number: 1, name: a, protocol: mongo}"),
        with_server(tls="{httpsRedirect: true}"),
        with_tls("mode: PASSTHROUGH"),
        with_tls("mode: ISTIO_MUTUAL"),
        with_tls("mode: SIMPLE, serverCertificate: /c, privateKey: /k"),
        with_tls("mode: MUTUAL, credentialName: a"),
        with_tls("mode: OPTIONAL_MUTUAL, credentialNames: [a, b]"),
        with_tls("mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /a, caCrl: /r"),
        with_tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}]"),
        with_tls("mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_0, cipherSuites: [AES128-SHA]"),
        with_tls("mode: SIMPLE, credentialName: a, cipherSuites: [ALL, '-RC4', ECDHE-RSA-AES256-SHA]"),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(spec: str) -> None:
    assert warnings(KIND, spec) == {}


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (with_tls("mode: PASSTHROUGH, httpsRedirect: true"), f"{SERVER}.tls.httpsRedirect", "only plain HTTP"),
        (with_tls("mode: PASSTHROUGH, credentialName: a"), f"{SERVER}.tls.credentialName", "ends no TLS"),
        (
            with_tls("mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_1"),
            f"{SERVER}.tls.minProtocolVersion",
            "no cipher in common",
        ),
        (
            with_tls("mode: SIMPLE, credentialName: a, cipherSuites: [RC4]"),
            f"{SERVER}.tls.cipherSuites[0]",
            "left out",
        ),
        (
            with_tls("mode: SIMPLE, credentialName: a, cipherSuites: [AES128-SHA, AES128-SHA]"),
            f"{SERVER}.tls.cipherSuites[1]",
            "given already",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(spec: str, field: str, says: str) -> None:
    found = warnings(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]
