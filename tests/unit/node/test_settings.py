import pytest

from agent.errors import ConfigError
from agent.node.selection import EXCLUDED_NAMESPACES, Rules
from agent.node.settings import Settings

NODE = {"NODE_NAME": "node-1"}


def rules(**environment: str) -> Rules:
    return Settings.parse({**NODE, **environment}).rules


def test_without_settings_the_label_enrols_in_all_namespaces_but_the_clusters_own() -> None:
    assert rules() == Rules("default", EXCLUDED_NAMESPACES, ())
    assert {"kube-system", "istio-system"} == EXCLUDED_NAMESPACES


def test_excluded_namespaces_are_replaced_and_the_meshs_own_stays_one() -> None:
    assert rules(EXCLUDE_NAMESPACES="a, b,,").excluded == {"a", "b", "istio-system"}


def test_a_revision_and_enablement_selectors_are_taken() -> None:
    found = rules(REVISION="canary", AMBIENT_ENABLEMENT_SELECTOR="[{podSelector: {matchLabels: {mesh: 'yes'}}}]")
    assert (found.revision, len(found.enablement)) == ("canary", 1)
    assert found.enablement[0].matches({"mesh": "yes"}, {})


def test_selectors_that_cannot_be_read_end_the_start() -> None:
    with pytest.raises(ConfigError, match="AMBIENT_ENABLEMENT_SELECTOR"):
        rules(AMBIENT_ENABLEMENT_SELECTOR="5")
