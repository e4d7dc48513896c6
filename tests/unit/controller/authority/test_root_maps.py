"""Which namespaces need the roots written."""

from __future__ import annotations

from typing import Any

from agent.controller.authority.root_maps import NAME, RootMaps
from agent.kube import CONFIG_MAP, NAMESPACE, Change, ChangeType, Kind

ADDED, MODIFIED, DELETED, SYNCED = (ChangeType[name] for name in ("ADDED", "MODIFIED", "DELETED", "SYNCED"))


def change(type_: ChangeType, kind: Kind, name: str, namespace: str = "", /, **more: Any) -> Change:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return Change(type_, kind, {"metadata": metadata, **more})


def a_map(type_: ChangeType, roots: str, namespace: str = "shop") -> Change:
    return change(type_, CONFIG_MAP, NAME, namespace, data={"root-cert.pem": roots})


def maps_with_shop() -> RootMaps:
    maps = RootMaps("ROOTS")
    assert maps.apply(change(ADDED, NAMESPACE, "shop")) == {"shop"}
    return maps


def test_a_namespace_without_the_roots_is_due_and_one_that_has_them_is_not() -> None:
    maps = maps_with_shop()
    assert maps.is_due("shop")
    assert maps.apply(a_map(ADDED, "ROOTS")) == {"shop"}
    assert not maps.is_due("shop")


def test_what_somebody_else_made_of_them_is_put_right() -> None:
    maps = maps_with_shop()
    maps.apply(a_map(MODIFIED, "MINE"))
    assert maps.is_due("shop")
    assert maps.exists("shop")
    maps.apply(a_map(DELETED, "MINE"))
    assert maps.is_due("shop")
    assert not maps.exists("shop")


def test_a_namespace_that_goes_is_left_alone() -> None:
    maps = maps_with_shop()
    maps.apply(change(MODIFIED, NAMESPACE, "shop", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert not maps.is_due("shop")
    maps = maps_with_shop()
    maps.apply(change(DELETED, NAMESPACE, "shop"))
    assert not maps.is_due("shop")


def test_when_everything_is_known_every_namespace_is_looked_at() -> None:
    maps = maps_with_shop()
    maps.apply(change(ADDED, NAMESPACE, "bank"))
    assert maps.apply(Change(SYNCED)) == {"shop", "bank"}


def test_other_config_maps_are_nobodys_business() -> None:
    assert maps_with_shop().apply(change(ADDED, CONFIG_MAP, "mine", "shop", data={})) == set()
