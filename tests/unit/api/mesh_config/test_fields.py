"""The fields of the models, against those of the messages that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.networks import MeshNetworks
from tests.support.schema_fields import fields_of, read

ISTIO: Final = read((Path(__file__).parent / "mesh-1.31.txt").read_text())
# Istio refuses the value INHERIT, and an unknown operator once it makes a selector of it.
STRICTER: Final = {
    "controlPlaneAuthPolicy string INHERIT|MUTUAL_TLS|NONE": "controlPlaneAuthPolicy string MUTUAL_TLS|NONE",
    "matchExpressions[].operator string": "matchExpressions[].operator string DoesNotExist|Exists|In|NotIn",
}


def expected(line: str) -> str:
    for end, ours in STRICTER.items():
        if line.endswith(end):
            return line.removesuffix(end) + ours
    return line


def name_and_type(line: str) -> str:
    """Without bounds, defaults and what is required: protobuf has none of them."""
    name, type, *more = line.split(" ")
    values = [word for word in more[:1] if word[0].isalpha()]
    return " ".join([name.rstrip("*"), type.replace("any", "object"), *values])


@pytest.mark.parametrize("model", [MeshConfig, MeshNetworks])
def test_names_types_and_enumerations_are_istios(model: type[BaseModel]) -> None:
    ours = sorted(name_and_type(line) for line in fields_of(model.model_json_schema()))
    assert ours == sorted(expected(line) for line in ISTIO[model.__name__, "v1alpha1"])
