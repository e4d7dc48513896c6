from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.controller.membership import Membership


@dataclass(frozen=True)
class Named:
    """A selector of the namespaces of a mesh."""

    mesh: str = "mine"

    def matches(self, labels: Mapping[str, str]) -> bool:
        return labels.get("mesh") == self.mesh


MINE = {"mesh": "mine"}
POD, OTHER = ("shop", "web-1"), ("shop", "web-2")


def test_without_selectors_every_namespace_belongs() -> None:
    membership = Membership(lambda _: [])
    assert membership.has("shop")
    assert membership.label("shop", {}) == frozenset()


def test_a_namespace_joins_and_leaves_with_its_labels() -> None:
    membership = Membership(lambda _: [])
    assert membership.select((Named(),), ["shop"]) == {"shop"}  # it is not known yet
    assert membership.label("shop", MINE) == {"shop"}
    assert membership.has("shop")
    assert membership.label("shop", MINE | {"more": "1"}) == frozenset()
    assert membership.label("shop", {}) == {"shop"}
    assert not membership.has("shop")


def test_namespaces_join_and_leave_with_the_selectors() -> None:
    membership = Membership(lambda _: [])
    membership.label("shop", MINE)
    membership.label("bank", {"mesh": "theirs"})
    assert membership.select((Named(),), []) == {"bank"}
    assert membership.select((Named("theirs"),), []) == {"bank", "shop"}
    assert membership.select((Named(), Named("theirs")), []) == {"shop"}
    assert membership.select((), []) == frozenset()


def test_a_namespace_stays_until_the_last_of_its_redirected_pods_is_withdrawn() -> None:
    membership = Membership(lambda _: [POD, OTHER])
    membership.select((Named(),), [])
    membership.label("shop", MINE)
    assert membership.label("shop", {}) == frozenset()
    assert membership.withdrawn(POD) == frozenset()
    assert membership.has("shop")
    assert membership.withdrawn(OTHER) == {"shop"}
    assert not membership.has("shop")
    assert membership.withdrawn(OTHER) == frozenset()


def test_a_namespace_that_comes_back_meanwhile_waits_for_nobody() -> None:
    membership = Membership(lambda _: [POD])
    membership.select((Named(),), [])
    membership.label("shop", MINE)
    membership.label("shop", {})
    assert membership.label("shop", MINE) == frozenset()
    assert membership.withdrawn(POD) == frozenset()
    assert membership.has("shop")


def test_pods_that_are_redirected_do_not_bring_a_namespace_in() -> None:
    membership = Membership(lambda _: [POD])
    membership.select((Named(),), [])
    assert membership.label("shop", {}) == frozenset()
    assert not membership.has("shop")
