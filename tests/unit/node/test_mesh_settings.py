"""What a node agent takes from the mesh's ConfigMap, and what it does with one that cannot be used."""

from __future__ import annotations

import pytest

from agent.kube import CONFIG_MAP, NAMESPACE, SYSTEM_CONFIG_MAP, Change, ChangeType
from agent.node.mesh_settings import MeshSettings
from agent.node.selection import Rules, judge
from tests.support.objects import Object, a_mesh_config
from tests.unit.node.test_selection import a_pod

OWN = Rules(excluded=frozenset({"kube-system"}))
SELECTING = "discoverySelectors: [{matchLabels: {mesh: mine}}]"
MINE = {"mesh": "mine"}


def put(settings: MeshSettings, found: Object, type: ChangeType = ChangeType.MODIFIED) -> None:
    settings.apply(Change(type, SYSTEM_CONFIG_MAP, found))


def is_chosen(settings: MeshSettings, labels: dict[str, str]) -> bool | None:
    return judge(a_pod(mode="ambient"), labels, settings.rules).is_wanted


def test_discovery_selectors_are_added_to_the_agents_own_rules_until_they_are_gone() -> None:
    settings = MeshSettings(OWN)
    put(settings, a_mesh_config(SELECTING))
    assert (is_chosen(settings, MINE), is_chosen(settings, {})) == (True, False)
    assert settings.rules.excluded == OWN.excluded
    put(settings, a_mesh_config(SELECTING), ChangeType.DELETED)
    assert settings.rules == OWN


def test_other_objects_say_nothing() -> None:
    settings = MeshSettings(OWN)
    settings.apply(Change(ChangeType.ADDED, NAMESPACE, a_mesh_config(SELECTING)))
    put(settings, a_mesh_config(SELECTING, name="istio-canary"))
    settings.apply(Change(ChangeType.ADDED, CONFIG_MAP, a_mesh_config(SELECTING)))
    assert settings.rules == OWN


def test_a_revision_has_a_config_map_of_its_own() -> None:
    settings = MeshSettings(Rules(revision="canary"))
    put(settings, a_mesh_config(SELECTING, name="istio-canary"))
    assert settings.rules.discovery


def test_one_that_cannot_be_used_leaves_the_last_good_one_in_force() -> None:
    settings = MeshSettings(OWN)
    put(settings, a_mesh_config(SELECTING))
    put(settings, a_mesh_config("discoverySelectors: 5"))
    assert (is_chosen(settings, MINE), is_chosen(settings, {})) == (True, False)


@pytest.mark.parametrize("text", ["discoverySelectors: 5", "trustDomain: [", "{}\n---\n{}\n---\n1"])
def test_without_a_last_good_one_nobody_joins_until_it_is_mended(text: str) -> None:
    settings = MeshSettings(OWN)
    put(settings, a_mesh_config(text))
    assert is_chosen(settings, {}) is None
    assert settings.rules.obstacle.startswith(
        "the mesh's settings cannot be read: ConfigMap istio-system/istio: mesh: "
    )
    put(settings, a_mesh_config(""))
    assert settings.rules == OWN


def test_a_config_map_that_went_while_nobody_looked_is_forgotten_and_one_that_is_there_is_not() -> None:
    settings = MeshSettings(OWN)
    put(settings, a_mesh_config(SELECTING))
    settings.begin()
    put(settings, a_mesh_config(SELECTING), ChangeType.ADDED)
    settings.apply(Change(ChangeType.SYNCED))
    assert settings.rules.discovery
    settings.begin()
    assert settings.rules.discovery  # nothing changes before all is told
    settings.apply(Change(ChangeType.SYNCED))
    assert settings.rules == OWN
