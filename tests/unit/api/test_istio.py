"""Objects of Istio's kinds: what is read, in every version, and how the rest is refused."""

from datetime import timedelta

import pytest

from agent.api.istio import KINDS
from agent.api.kubernetes import parse
from agent.api.networking.destination_rule import DestinationRule
from agent.api.networking.service_entry import ServiceEntry
from agent.api.networking.virtual_service import VirtualService
from agent.api.request_authentication import RequestAuthentication
from agent.api.strict import Condition, StrictObject
from agent.errors import InvalidObjectError
from tests.support.istio_faults import BAD
from tests.support.istio_objects import GOOD, Object, an_object


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_object_is_read_in_every_version_and_says_what_was_written(kind: type[StrictObject]) -> None:
    for version in kind.facts.api_versions:
        given = {**an_object(kind.__name__, GOOD[kind.__name__]), "apiVersion": version}
        read = parse(given, "f")
        assert isinstance(read, kind)
        stored = parse({**given, "apiVersion": kind.facts.api_versions[0]}, "f")
        assert read.model_dump()["spec"] == stored.model_dump()["spec"]
        assert read.api_version == version


@pytest.mark.parametrize(("kind", "spec", "field", "says"), BAD)
def test_a_fault_is_refused_with_object_field_value_and_what_is_accepted(
    kind: str, spec: Object, field: str, says: str
) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        parse(an_object(kind, spec), "f.yaml")
    told = str(caught.value)
    assert told.startswith(f"f.yaml: {kind} shop/a: {field}: ")
    assert says in told


def test_all_faults_are_told_at_once() -> None:
    route = {"destination": {"hots": "a"}, "weight": "1"}
    with pytest.raises(InvalidObjectError) as caught:
        parse(an_object("VirtualService", {"http": [{"route": [{"destination": {"host": "a"}}, route]}]}), "f")
    assert [(fault.field, fault.text) for fault in caught.value.faults] == [
        ("spec.http[0].route[1].destination.host", "missing; it is required"),
        ("spec.http[0].route[1].destination.hots", "unknown field"),
        ("spec.http[0].route[1].weight", "read '1': accepted is a valid integer"),
    ]


def test_a_list_is_not_also_too_short_for_items_that_are_at_fault() -> None:
    with pytest.raises(InvalidObjectError) as caught:
        parse(an_object("ServiceEntry", {"hosts": ["*"]}), "f")
    assert [fault.field for fault in caught.value.faults] == ["spec.hosts[0]"]


def test_absent_scalars_are_protobufs_and_absent_wrappers_are_none() -> None:
    rule = parse(an_object("DestinationRule", {"host": "a", "trafficPolicy": {"outlierDetection": {}}}), "f")
    assert isinstance(rule, DestinationRule)
    assert rule.spec.traffic_policy is not None
    outliers = rule.spec.traffic_policy.outlier_detection
    assert outliers is not None
    assert (outliers.max_ejection_percent, outliers.consecutive_5xx_errors, outliers.interval) == (0, None, None)


def test_zero_of_a_wrapper_is_not_absence_and_null_is() -> None:
    errors = {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": None}
    rule = parse(an_object("DestinationRule", {"host": "a", "trafficPolicy": {"outlierDetection": errors}}), "f")
    assert isinstance(rule, DestinationRule)
    assert rule.spec.traffic_policy is not None
    outliers = rule.spec.traffic_policy.outlier_detection
    assert outliers is not None
    assert (outliers.consecutive_5xx_errors, outliers.consecutive_gateway_errors) == (0, None)
    assert outliers.model_fields_set == {"consecutive_5xx_errors"}


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("1s", timedelta(seconds=1)),
        ("1.5s", timedelta(milliseconds=1500)),
        ("1.s", timedelta(seconds=1)),
        (".5s", timedelta(milliseconds=500)),
        ("1h2m3.25s", timedelta(hours=1, minutes=2, seconds=3.25)),
        ("1500us", timedelta(microseconds=1500)),
        ("1500µs", timedelta(microseconds=1500)),
        ("2000000ns", timedelta(milliseconds=2)),
        ("+1s", timedelta(seconds=1)),
        ("1ms", timedelta(milliseconds=1)),
        ("2562047h47m16s", timedelta(hours=2562047, minutes=47, seconds=16)),
    ],
)
def test_a_duration_is_read_as_go_does(written: str, means: timedelta) -> None:
    route = parse(an_object("VirtualService", {"http": [{"timeout": written}]}), "f")
    assert isinstance(route, VirtualService)
    assert route.spec.http[0].timeout == means


@pytest.mark.parametrize(
    "written",
    ["", "1", "s", "1d", "1 s", "1s ", "-1s", "0s", "0", "1e3s", "٣s", "2562048h", "1.0001ms", "1S", ".s", "-+1s"],
)
def test_what_is_no_duration_of_a_millisecond_is_refused(written: str) -> None:
    with pytest.raises(InvalidObjectError, match=r"spec\.http\[0\]\.timeout: read .*: accepted is a duration"):
        parse(an_object("VirtualService", {"http": [{"timeout": written}]}), "f")


@pytest.mark.parametrize("spelling", ["jwksUri", "jwks_uri"])
def test_a_field_with_two_spellings_is_one(spelling: str) -> None:
    read = parse(an_object("RequestAuthentication", {"jwtRules": [{"issuer": "a", spelling: "https://a/keys"}]}), "f")
    assert isinstance(read, RequestAuthentication)
    assert read.spec.jwt_rules[0].jwks_uri == "https://a/keys"


def test_free_content_is_kept_as_it_is() -> None:
    value = {"name": "x", "typed_config": {"@type": "t", "a": None, "b": [1, 2.5, {"c": True}]}}
    read = parse(an_object("EnvoyFilter", {"configPatches": [{"patch": {"value": value}}]}), "f")
    assert read.model_dump(by_alias=True, exclude_unset=True)["spec"]["configPatches"][0]["patch"]["value"] == value


def test_a_status_is_read_and_never_makes_an_object_invalid_by_unknown_fields() -> None:
    conditions = [{"type": "Ready", "status": "True", "odd": 1}]
    status = {"conditions": conditions, "addresses": [{"value": "240.0.0.1"}], "more": 1}
    read = parse(an_object("ServiceEntry", GOOD["ServiceEntry"], status=status), "f")
    assert isinstance(read, ServiceEntry)
    assert read.status.conditions == (Condition(type="Ready", status="True"),)
    assert [address.value for address in read.status.addresses] == ["240.0.0.1"]


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_an_object_without_a_spec_is_refused_only_where_it_needs_one(kind: str) -> None:
    given = an_object(kind, {})
    del given["spec"]
    needs_one = {"DestinationRule", "ServiceEntry", "TrafficExtension", "WasmPlugin", "WorkloadEntry", "WorkloadGroup"}
    if kind in needs_one:
        with pytest.raises(InvalidObjectError, match="spec: missing; it is required"):
            parse(given, "f")
    else:
        assert parse(given, "f").metadata.name == "a"
