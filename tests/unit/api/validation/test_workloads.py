"""What is said of WorkloadEntries and WorkloadGroups."""

from __future__ import annotations

import pytest

from tests.support.validation import errors, warnings

ENTRY = "networking.istio.io/v1/WorkloadEntry"
GROUP = "networking.istio.io/v1/WorkloadGroup"


@pytest.mark.parametrize(
    ("kind", "spec", "field", "says"),
    [
        (ENTRY, "address: a_b", "spec.address", "a name of DNS"),
        (ENTRY, "address: 10.0.0.300", "spec.address", "a name of DNS"),
        (ENTRY, "address: ''", "spec.address", "unless there is a network"),
        (ENTRY, "address: a.com\nlabels: {a: b c}", "spec.labels.a", "a label's value"),
        (GROUP, "template: {}\nmetadata: {labels: {'a/b/c': d}}", "spec.metadata.labels.a/b/c", "a label's key"),
        (GROUP, "template: {labels: {a: '-'}}", "spec.template.labels.a", "a label's value"),
        (GROUP, "template: {}\nprobe: {periodSeconds: 1}", "spec.probe", "exactly one of httpGet"),
        (GROUP, "template: {}\nprobe: {exec: {command: []}}", "spec.probe.exec.command", "a program"),
        (GROUP, "template: {}\nprobe: {grpc: {}}", "spec.probe.grpc.port", "required"),
        (
            GROUP,
            "template: {}\nprobe: {httpGet: {port: 80, httpHeaders: [{name: a_b}]}}",
            "spec.probe.httpGet.httpHeaders[0].name",
            "letters, digits and -",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(
    kind: str, spec: str, field: str, says: str
) -> None:
    found = errors(kind, spec)
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (ENTRY, "address: a.com"),
        (ENTRY, "address: 10.0.0.1"),
        (ENTRY, "address: 'unix:///run/a'"),
        (GROUP, "template: {labels: {a: ''}}\nmetadata: {labels: {example.com/a: b}}"),
        (GROUP, "template: {}\nprobe: {exec: {command: [a]}}"),
        (GROUP, "template: {}\nprobe: {grpc: {port: 1}}"),
        (GROUP, "template: {}\nprobe: {httpGet: {port: 80, httpHeaders: [{name: a-b}]}}"),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(kind: str, spec: str) -> None:
    assert warnings(kind, spec) == {}


def test_an_entry_that_is_known_by_its_network_only_is_told() -> None:
    assert list(warnings(ENTRY, "network: n")) == ["spec.address"]
