"""What is said of ServiceEntries that can be read and make no sense, and of those that nearly make none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.validation import errors, warnings

KIND = "networking.istio.io/v1/ServiceEntry"
TLS = "[{number: 443, name: tls, protocol: TLS}]"


def entry(hosts: str = "[a.com]", ports: str = TLS, resolution: str = "DNS", **more: str) -> str:
    fields = {"hosts": hosts, "ports": ports, "resolution": resolution, **more}
    return "\n".join(f"{field}: {value}" for field, value in fields.items())


def port(protocol: str) -> str:
    return f"[{{number: 80, name: a, protocol: {protocol}}}]"


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (entry("[a_b.com]"), "spec.hosts[0]", "a DNS name"),
        (entry("['*.com']"), "spec.hosts[0]", "or endpoints"),
        (entry(addresses="[10.0.0.300]"), "spec.addresses[0]", "a CIDR block"),
        (entry(resolution="NONE", addresses="[10.0.0.0/33]"), "spec.addresses[0]", "a CIDR block"),
        (entry(ports="[{number: 1, name: a_b, protocol: TLS}]"), "spec.ports[0].name", "a DNS label"),
        (entry(ports=port("SMTP")), "spec.ports[0].protocol", "one of GRPC"),
        (entry("[a.com, b.com]", port("TCP")), "spec.ports[0].protocol", "more than one host"),
        (
            entry(resolution="STATIC", endpoints="[{address: b.com}]"),
            "spec.endpoints[0].address",
            "an address with this resolution",
        ),
        (entry(endpoints="[{address: b_c}]"), "spec.endpoints[0].address", "a name of DNS"),
        (entry(endpoints="[{address: 'unix:///a'}]"), "spec.endpoints[0].address", "a name of DNS"),
        (
            entry(endpoints="[{address: b.com, ports: {web: 80}}]"),
            "spec.endpoints[0].ports.web",
            "one of the service's",
        ),
        (
            entry(
                resolution="STATIC",
                ports="[{number: 1, name: a, protocol: TLS}, {number: 2, name: b, protocol: TLS}]",
                endpoints="[{address: 'unix:///a'}]",
            ),
            "spec.endpoints[0].address",
            "exactly one port",
        ),
        (
            entry(resolution="STATIC", endpoints="[{address: 10.0.0.1, labels: {'a b': c}}]"),
            "spec.endpoints[0].labels.a b",
            "a label's key",
        ),
        (entry(resolution="DYNAMIC_DNS"), "spec.hosts[0]", "a wildcard"),
        (entry("['*.com']", resolution="DYNAMIC_DNS", addresses="[10.0.0.1]"), "spec.addresses", "each name"),
        (entry("['*.com']", resolution="DYNAMIC_DNS", endpoints="[{address: a.com}]"), "spec.endpoints", "each name"),
        (entry("['*.com']", port("TCP"), "DYNAMIC_DNS"), "spec.ports[0].protocol", "HTTP, HTTP2, GRPC or TLS"),
        (entry(exportTo="['~', a]"), "spec.exportTo[0]", "alone"),
        (
            entry(resolution="STATIC", workloadSelector="{labels: {'': b}}"),
            "spec.workloadSelector.labels.",
            "a label's key",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(spec: str, field: str, says: str) -> None:
    found = errors(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]


def test_a_name_asked_for_each_time_is_no_part_of_the_mesh_behind_a_waypoint() -> None:
    spec = entry("['*.com']", resolution="DYNAMIC_DNS", location="MESH_INTERNAL")
    assert list(errors(KIND, spec, labels={"istio.io/use-waypoint": "egress"})) == ["spec.location"]
    assert warnings(KIND, spec, labels={"istio.io/use-waypoint": "none"}) == {}


@pytest.mark.parametrize(
    "spec",
    [
        entry(),
        entry("['*.com']", endpoints="[{address: b.com}]"),
        entry("['*.com']", resolution="NONE"),
        entry("['*.com']", resolution="DYNAMIC_DNS"),
        entry("['*.com']", port("grpc"), "DYNAMIC_DNS", location="MESH_EXTERNAL"),
        entry(addresses="[10.0.0.1, 'fd00::1']"),
        entry(resolution="STATIC", addresses="[10.0.0.0/8]"),
        entry("[a.com, b.com]"),
        entry("[a.com, b.com]", port("HTTP")),
        entry("[a.com, b.com]", port("TCP"), "NONE", addresses="[10.0.0.1]"),
        entry(ports=port("TCP")),
        entry(endpoints="[{address: 10.0.0.1, ports: {tls: 8443}}]"),
        entry(resolution="STATIC", endpoints="[{address: 'unix:///a'}]"),
        entry(exportTo="['~']"),
        entry(resolution="STATIC", workloadSelector="{labels: {a: b}}"),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(spec: str) -> None:
    assert warnings(KIND, spec) == {}


@pytest.mark.parametrize(
    ("spec", "field", "says", "metadata"),
    [
        (entry("['*a.com']", resolution="NONE"), "spec.hosts[0]", "whole labels", {}),
        (entry(ports=port("TCP"), resolution="NONE"), "spec.ports[0]", "there are none", {}),
        (
            entry(ports=port("''")),
            "spec.ports[0]",
            "there are none",
            {"labels": {"networking.istio.io/enable-autoallocate-ip": "False"}},
        ),
        (entry("[a.com, b.com]", addresses="[10.0.0.1]"), "spec.ports[0].protocol", "does not tell 2 hosts", {}),
        (
            entry(resolution="NONE", workloadSelector="{labels: {a: b}}"),
            "spec.workloadSelector",
            "without effect",
            {},
        ),
        (entry(resolution="STATIC", workloadSelector="{}"), "spec.workloadSelector", "no labels", {}),
        (
            entry(resolution="STATIC", endpoints="[{network: n}]"),
            "spec.endpoints[0].address",
            "has a gateway for",
            {},
        ),
    ],
)
def test_what_is_hardly_meant_is_told(spec: str, field: str, says: str, metadata: dict[str, Any]) -> None:
    found = warnings(KIND, spec, **metadata)
    assert list(found) == [field]
    assert says in found[field]
