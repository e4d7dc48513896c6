"""The fields of the models, against those of the CRDs of Gateway API 1.6, experimental channel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from agent.api.gateway_api.kinds import KINDS
from agent.api.strict import StrictObject
from tests.support.schema_fields import fields_of, read

CRDS: Final = read((Path(__file__).parent / "gateway-api-1.6.txt").read_text())
# Where a model says more than the schema: what Kubernetes' own client takes, the type in Go, or what a
# pattern or a rule of the CRD comes to.
STRICTER: Final = {
    "matchExpressions[].operator* string": " DoesNotExist|Exists|In|NotIn",
    "forwardBody.maxSize integer": " 0..65535",
    "retry.backoff string": " #1..32",
    "sessionPersistence.absoluteTimeout string": " #1..32",
    "timeouts.request string": " #1..32",
    "timeouts.backendRequest string": " #1..32",
}
# One model reads all versions of a route, and checks these by version.
BY_VERSION: Final = {
    "rules* array #1..1": "rules* array #1..16",
    "hostnames* array #1..1024": "hostnames array #0..1024",
}


def expected(line: str) -> str:
    if line.endswith("externalAuth.http.path string #0..1024"):  # the pattern takes no empty path
        return line.replace("#0..", "#1..")
    more = next((more for end, more in STRICTER.items() if line.endswith(end)), "")
    return BY_VERSION.get(line, line + more)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_names_types_bounds_and_defaults_are_those_of_every_version(kind: type[StrictObject]) -> None:
    spec = kind.model_fields["spec"].annotation
    assert isinstance(spec, type) and issubclass(spec, BaseModel)
    ours = fields_of(spec.model_json_schema())
    for version in kind.facts.versions:
        assert ours == sorted(expected(line) for line in CRDS[kind.__name__, version]), version


def test_every_version_that_is_served_is_read() -> None:
    assert {(kind.__name__, version) for kind in KINDS for version in kind.facts.versions} == CRDS.keys()
