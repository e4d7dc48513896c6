"""The mesh's settings where they are kept, and what a check of them says."""

from __future__ import annotations

import pytest

from agent.api.configuration import ConfigMap
from agent.api.kubernetes import parse
from agent.api.mesh_config.config_map import mesh_config_of, mesh_networks_of, settings_of
from agent.errors import InvalidObjectError
from tests.support.objects import a_mesh_config

NETWORKS = "networks:\n  west:\n    endpoints: [{fromRegistry: c1}]\n"


def read(**data: str) -> ConfigMap:
    metadata = {"name": "istio", "namespace": "istio-system"}
    found = parse({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, "f")
    assert isinstance(found, ConfigMap)
    return found


def test_the_settings_are_read_from_their_keys() -> None:
    found = read(mesh="trustDomain: td\ndefaultConfig:\n  concurrency: 2\n", meshNetworks=NETWORKS)
    config = mesh_config_of(found).value
    assert (config.trust_domain, config.default_config.concurrency) == ("td", 2)
    assert list(mesh_networks_of(found).value.networks) == ["west"]


@pytest.mark.parametrize("data", [{}, {"mesh": ""}, {"mesh": "# nothing\n"}])
def test_without_a_text_the_settings_are_istios(data: dict[str, str]) -> None:
    assert mesh_config_of(read(**data)).value.trust_domain == "cluster.local"
    assert mesh_networks_of(read(**data)).value.networks == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "ConfigMap istio-system/istio: mesh: line 2: "),
        ("a: 1\n---\nb: 2\n", "ConfigMap istio-system/istio: mesh: read 2 documents; accepted is one"),
        ("trustDomain: 5\n", "ConfigMap istio-system/istio: mesh: MeshConfig: trustDomain: read 5: "),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        mesh_config_of(read(mesh=text))
    assert str(caught.value).startswith(says)


def test_the_settings_are_read_from_an_object_too() -> None:
    assert settings_of(a_mesh_config("rootNamespace: root")).value.root_namespace == "root"


def test_an_object_that_is_no_config_map_is_refused_with_its_name() -> None:
    with pytest.raises(InvalidObjectError, match=r"ConfigMap istio-system/istio: data\.mesh: "):
        settings_of({**a_mesh_config(""), "data": {"mesh": 5}})
