"""Whatever an object holds, the validation ends, soon, and raises nothing."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.api import registry
from agent.api.validation import validate
from tests.support import gateway_objects as gateway_api
from tests.support import istio_objects
from tests.support.random_objects import TEXTS

ENTRIES = sorted(registry.entries(), key=lambda entry: (entry.api_version, entry.model.__name__))
VALID: list[dict[str, Any]] = [
    *(istio_objects.an_object(kind, spec) for kind, spec in istio_objects.GOOD.items()),
    gateway_api.a_gateway(),
    gateway_api.an_http_route({"backendRefs": [{"name": "a", "port": 80}], "filters": []}),
    gateway_api.a_grpc_route({"matches": [{"method": {"service": "a"}}]}),
    gateway_api.a_stream_route("TLSRoute"),
    gateway_api.a_tls_policy(),
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "defaultConfig: {concurrency: 2}\nextensionProviders: [{name: a, prometheus: {}}]"},
    },
]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(TEXTS))
FIELDS = st.sampled_from(["metadata", "spec", "name", "http", "hosts", "match", "rules", "listeners", "tls", "data"])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(FIELDS, st.text(max_size=8)), inner, max_size=4)
    ),
    max_leaves=20,
)
UNHURRIED = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values below the kind."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path and path not in (("apiVersion",), ("kind",)) else []
    return found + [place for step, item in inside for place in places(item, (*path, step))]


def changed(whole: dict[str, Any], path: tuple[str | int, ...], change: Any) -> dict[str, Any]:
    """A copy in which `change` was done to what holds the value at `path`."""
    made = copy.deepcopy(whole)
    holder: Any = made
    for step in path[:-1]:
        holder = holder[step]
    change(holder, path[-1])
    return made


def renamed(holder: Any, step: Any) -> None:
    value = holder.pop(step)
    if isinstance(holder, dict):
        holder["renamed"] = value
    else:
        holder.insert(0, value)


def replaced_by(value: Any) -> Any:
    def change(holder: Any, step: Any) -> None:
        holder[step] = value

    return change


WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    float("nan"),
    "",
    "a",
    "*",
    "\x00",
    "\ud800",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
    {"": {}},
)


@UNHURRIED
@given(entry=st.sampled_from(ENTRIES), fields=st.dictionaries(FIELDS, JSON, max_size=4), metadata=JSON)
def test_any_json_under_any_kind_is_judged(entry: registry.Entry, fields: dict[str, Any], metadata: Any) -> None:
    given = {"metadata": metadata, **fields, "apiVersion": entry.api_version, "kind": entry.model.__name__}
    answer = validate(given, "any.yaml")
    assert (answer.resource is None) == bool(answer.errors)


@UNHURRIED
@given(entry=st.sampled_from(ENTRIES), spec=JSON)
def test_any_spec_of_a_named_object_is_judged(entry: registry.Entry, spec: Any) -> None:
    metadata = {"name": "any", "namespace": "shop"}
    given = {"apiVersion": entry.api_version, "kind": entry.model.__name__, "metadata": metadata, "spec": spec}
    answer = validate(given, "any.yaml")
    assert (answer.resource is None) == bool(answer.errors)


@pytest.mark.parametrize("whole", VALID, ids=lambda whole: str(whole["kind"]))
def test_an_object_with_one_field_gone_renamed_or_of_another_type_is_judged(whole: dict[str, Any]) -> None:
    started = time.process_time()
    changes = [lambda holder, step: holder.pop(step), renamed, *map(replaced_by, WRONG)]
    for path in places(whole):
        for change in changes:
            answer = validate(changed(whole, path, change), "changed.yaml")
            assert (answer.resource is None) == bool(answer.errors)
            assert all(isinstance(fault.text, str) and fault.text for fault in (*answer.errors, *answer.warnings))
    assert time.process_time() - started < 20


def test_many_routes_and_matches_take_no_more_than_seconds() -> None:
    routes = [{"match": [{"uri": {"prefix": f"/{n}"}}], "route": [{"destination": {"host": "a"}}]} for n in range(1000)]
    whole = istio_objects.an_object("VirtualService", {"hosts": ["a"], "http": routes})
    started = time.process_time()
    assert validate(whole, "many.yaml").errors == ()
    assert time.process_time() - started < 5
