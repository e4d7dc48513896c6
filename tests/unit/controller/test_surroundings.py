"""What a controller takes from beside it at its start: the mesh's settings, out of a state directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.controller.settings import Settings
from agent.controller.surroundings import find
from agent.errors import ConfigError
from agent.kube import CONFIG_MAP, StateDirectory
from tests.support.objects import a_mesh_config


def a_settings(folder: Path, **other: str) -> Settings:
    given = {
        "WEFT_STATE_DIRECTORY": folder,
        "WEFT_CA_DIRECTORY": folder / "ca",
        "WEFT_TOKEN_JWKS": folder / "jwks.json",
    }
    return Settings.parse({**{name: str(path) for name, path in given.items()}, **other})


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory.create_at(tmp_path)


async def test_without_a_config_map_the_settings_of_the_process_hold(state: StateDirectory, tmp_path: Path) -> None:
    around = await find(a_settings(tmp_path, TRUST_DOMAIN="example.org", REVISION="canary"), state)
    assert (around.mesh.trust_domain, around.mesh.revision) == ("example.org", "canary")
    assert around.mesh.root_namespace == "istio-system"


async def test_the_config_map_of_its_revision_comes_before_them(state: StateDirectory, tmp_path: Path) -> None:
    await state.create(CONFIG_MAP, a_mesh_config("trustDomain: one", "istio"))
    await state.create(CONFIG_MAP, a_mesh_config("trustDomain: two\nrootNamespace: root", "istio-canary"))
    around = await find(a_settings(tmp_path, TRUST_DOMAIN="example.org", REVISION="canary"), state)
    assert (around.mesh.trust_domain, around.mesh.root_namespace) == ("two", "root")


async def test_one_that_cannot_be_used_ends_the_start(state: StateDirectory, tmp_path: Path) -> None:
    await state.create(CONFIG_MAP, a_mesh_config("trustDomain: ["))
    with pytest.raises(ConfigError, match="ConfigMap istio-system/istio: mesh: line "):
        await find(a_settings(tmp_path), state)
