from __future__ import annotations

import json

import pytest

from agent.errors import ProtocolError
from agent.kube import POD, Change, ChangeType
from agent.node.cni_requests import Answer, Command, Request, State, parse, pod_of
from agent.node.inventory import Inventory
from tests.support.objects import a_pod

FINE = {
    "version": 1,
    "command": "add",
    "name": "web-1",
    "namespace": "shop",
    "uid": "u-1",
    "addresses": ["10.0.0.7", "FD00:0::7"],
    "waitSeconds": 20,
}


def test_a_request_is_read_with_its_addresses_in_the_usual_form() -> None:
    expected = Request(Command.ADD, "web-1", "shop", "u-1", ("10.0.0.7", "fd00::7"), 20.0)
    assert parse(json.dumps(FINE).encode()) == expected


@pytest.mark.parametrize("packet", [b"", b"\xff", b"{", b"[]", b"7", b"[" * 8000])
def test_garbage_is_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(packet)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("version", None),
        ("command", "del"),
        ("command", {}),
        ("name", ""),
        ("name", 7),
        ("namespace", None),
        ("uid", None),
        ("addresses", []),
        ("addresses", "10.0.0.7"),
        ("addresses", [7]),
        ("addresses", ["ten"]),
        ("waitSeconds", 0),
        ("waitSeconds", 1e9),
        ("waitSeconds", True),
        ("waitSeconds", "20"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(field: str, value: object) -> None:
    with pytest.raises(ProtocolError, match=field):
        parse(json.dumps({**FINE, field: value}).encode())


def test_an_answer_says_state_and_reason_and_is_never_too_long() -> None:
    assert json.loads(Answer(State.WAITING, "no proxy").encoded()) == {"state": "waiting", "reason": "no proxy"}
    assert len(Answer(State.REFUSED, "ä" * 100_000).encoded()) < 8192


def request(uid: str = "u-1", name: str = "web-1") -> Request:
    return Request(Command.ADD, name, "shop", uid, ("10.0.0.7",), 20.0)


def an_inventory(uid: str, annotations: dict[str, str] | None = None) -> Inventory:
    inventory = Inventory()
    inventory.apply(Change(ChangeType.ADDED, POD, a_pod("web-1", uid=uid, annotations=annotations)))
    return inventory


def test_a_pod_is_found_by_its_uid_and_name() -> None:
    inventory = an_inventory("u-1")
    assert pod_of(request(), inventory) == inventory.pods["u-1"]  # type: ignore[index]
    assert pod_of(request(name="web-2"), inventory) is None


def test_an_earlier_pod_of_the_same_name_is_not_the_pod() -> None:
    assert pod_of(request("u-2"), an_inventory("u-1")) is None


def test_a_runtime_that_does_not_say_uids_is_served_by_name() -> None:
    inventory = an_inventory("u-1")
    assert pod_of(request(""), inventory) == inventory.pods["u-1"]  # type: ignore[index]


def test_a_static_pod_is_found_by_the_uid_that_its_mirror_names() -> None:
    inventory = an_inventory("u-mirror", {"kubernetes.io/config.hash": "u-1"})
    assert pod_of(request("u-1"), inventory) == inventory.pods["u-mirror"]  # type: ignore[index]
