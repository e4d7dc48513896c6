"""The manifests that come with Weft: what is said of them is what their readers are told to do next, and no more."""

from __future__ import annotations

from pathlib import Path

from agent.analysis.run import Material, analyze

EXAMPLES = Path(__file__).parents[3] / "examples"
DEFINITIONS = Path(__file__).parents[3] / "daemonset" / "crds"
ENROLLED = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n"


def found(folder: Path, more: str = "") -> set[tuple[str, str]]:
    material = Material()
    for path in sorted(folder.rglob("*.yaml")):
        material.add_text(path.read_text(), str(path.relative_to(folder)))
    material.add_text(more, "more.yaml")
    return {(each.code, str(each.key)) for each in analyze(material)}


def test_of_the_shop_only_that_nobody_has_enrolled_it() -> None:
    assert found(EXAMPLES / "shop") == {("IST0102", "Namespace shop"), ("IST0102", "Namespace outside")}
    assert found(EXAMPLES / "shop", ENROLLED) == {("IST0102", "Namespace outside")}


def test_of_its_policies_only_that_they_guard_nothing_until_it_is() -> None:
    without = found(EXAMPLES)
    assert {each for each in without if each[0] == "WEFT0002"} == {
        ("WEFT0002", "AuthorizationPolicy shop/allow-frontend"),
        ("WEFT0002", "PeerAuthentication shop/strict"),
    }
    assert not {each for each in found(EXAMPLES, ENROLLED) if each[0] == "WEFT0002"}


def test_of_its_routes_that_an_enrolled_shop_needs_a_waypoint_and_a_certificate() -> None:
    assert found(EXAMPLES, ENROLLED) == {
        ("IST0102", "Namespace outside"),
        ("IST0101", "Gateway shop/front"),  # its Secret is everybody's own
        ("WEFT0022", "VirtualService shop/web"),
    }


def test_of_the_definitions_nothing() -> None:
    assert found(DEFINITIONS) == set()
