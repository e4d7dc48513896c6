"""Telemetry: what is read, and each rule broken and nearly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent.api.kubernetes import parse
from agent.api.telemetry import Telemetry
from tests.support.gateway_objects import Object, faults_of

TARGET = {"kind": "Service", "name": "web"}
SELECTOR = {"matchLabels": {"app": "web"}}


def a_telemetry(**spec: Any) -> Object:
    metadata = {"name": "it", "namespace": "shop"}
    return {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": metadata, "spec": spec}


def read(**spec: Any) -> Telemetry:
    found = parse(a_telemetry(**spec), "f")
    assert isinstance(found, Telemetry)
    return found


def tag(**given: Any) -> Object:
    return {"metrics": [{"overrides": [{"tagOverrides": {"a": given}}]}]}


def custom_tag(**given: Any) -> Object:
    return {"tracing": [{"customTags": {"a": given}}]}


def test_every_section_is_read() -> None:
    spec = read(
        targetRefs=[TARGET],
        tracing=[
            {
                "match": {"mode": "SERVER"},
                "providers": [{"name": "otel"}],
                "randomSamplingPercentage": 5,
                "customTags": {"a": {"header": {"name": "x", "defaultValue": "y"}}},
                "enableIstioTags": False,
            }
        ],
        metrics=[
            {
                "providers": [{"name": "prometheus"}],
                "overrides": [
                    {
                        "match": {"metric": "REQUEST_COUNT", "mode": "CLIENT"},
                        "tagOverrides": {"a": {"operation": "UPSERT", "value": "b"}, "c": {"operation": "REMOVE"}},
                    }
                ],
                "reportingInterval": "5s",
            }
        ],
        accessLogging=[{"filter": {"expression": "response.code >= 400"}, "disabled": True}],
    ).spec
    assert [target.name for target in spec.targets] == ["web"]
    (tracing,) = spec.tracing
    assert tracing.match is not None and tracing.match.mode == "SERVER"
    assert (tracing.random_sampling_percentage, tracing.enable_istio_tags) == (5.0, False)
    assert tracing.custom_tags["a"].header is not None and tracing.custom_tags["a"].header.default_value == "y"
    (metrics,) = spec.metrics
    assert metrics.reporting_interval == timedelta(seconds=5)
    assert metrics.overrides[0].tag_overrides["c"].operation == "REMOVE"
    assert spec.access_logging[0].disabled is True


def test_what_is_not_said_differs_from_what_is_said_to_be_off() -> None:
    assert read().spec.targets == ()
    assert read(tracing=[{}]).spec.tracing[0].disable_span_reporting is None
    assert read(tracing=[{"disableSpanReporting": False}]).spec.tracing[0].disable_span_reporting is False
    assert read(tracing=[{"randomSamplingPercentage": 0}]).spec.tracing[0].random_sampling_percentage == 0


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_every_served_version_is_read(version: str) -> None:
    assert isinstance(parse({**a_telemetry(), "apiVersion": f"telemetry.istio.io/{version}"}, "f"), Telemetry)


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"selector": SELECTOR, "targetRefs": [TARGET]}, "spec", "at most one of selector, targetRef, targetRefs"),
        ({"targetRef": TARGET, "targetRefs": [TARGET]}, "spec", "at most one of selector, targetRef, targetRefs"),
        ({"tracing": [{"randomSamplingPercentage": 101}]}, "spec.tracing[0].randomSamplingPercentage", "100"),
        ({"tracing": [{"randomSamplingPercentage": -1}]}, "spec.tracing[0].randomSamplingPercentage", "0"),
        ({"tracing": [{"providers": [{"name": ""}]}]}, "spec.tracing[0].providers[0].name", "at least 1 character"),
        ({"metrics": [{"reportingInterval": "0s"}]}, "spec.metrics[0].reportingInterval", "1ms or more"),
        (tag(operation="UPSERT"), "spec.metrics[0].overrides[0].tagOverrides.a", "UPSERT with a value"),
        (tag(operation="UPSERT", value=""), "spec.metrics[0].overrides[0].tagOverrides.a", "UPSERT with a value"),
        (tag(operation="REMOVE", value=""), "spec.metrics[0].overrides[0].tagOverrides.a", "REMOVE without a value"),
        (
            {"metrics": [{"overrides": [{"match": {"metric": "ALL_METRICS", "customMetric": "a"}}]}]},
            "spec.metrics[0].overrides[0].match",
            "at most one of metric, customMetric",
        ),
        (
            custom_tag(literal={"value": "a"}, header={"name": "b"}),
            "spec.tracing[0].customTags.a",
            "at most one of literal, environment, header, formatter",
        ),
        (custom_tag(formatter={"value": ""}), "spec.tracing[0].customTags.a.formatter.value", "at least 1 character"),
        ({"accessLoging": []}, "spec.accessLoging", "unknown field"),
    ],
)
def test_a_broken_rule_is_refused_with_field_and_reason(spec: Object, field: str, says: str) -> None:
    faults = faults_of(a_telemetry(**spec))
    assert list(faults) == [field]
    assert says in faults[field]


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": SELECTOR},
        {"selector": None, "targetRefs": [TARGET]},
        {"tracing": [{"randomSamplingPercentage": 100}]},
        {"metrics": [{"reportingInterval": "1ms"}]},
        tag(value="b"),
        tag(operation="REMOVE"),
        {"metrics": [{"overrides": [{"match": {"customMetric": "a"}}]}]},
        custom_tag(literal={"value": "a"}),
    ],
)
def test_what_only_nearly_breaks_a_rule_is_read(spec: Object) -> None:
    read(**spec)
