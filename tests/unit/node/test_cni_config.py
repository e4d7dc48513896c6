from __future__ import annotations

import json
from typing import Any

import pytest

from agent.errors import InvalidObjectError
from agent.node.cni_config import Restore, Write, candidates, entry, insertion, removal

OWN = entry("/run/weft/cni.sock", {"kube-system", "istio-system"})
BRIDGE = {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def chain(*plugins: Any, **more: Any) -> str:
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", **more, "plugins": list(plugins)})


def plugins(step: object) -> list[Any]:
    assert isinstance(step, Write)
    found: list[Any] = json.loads(step.text)["plugins"]
    return found


def test_the_entry_says_where_to_ask_and_who_is_exempt() -> None:
    assert OWN == {
        "type": "weft-cni",
        "socket": "/run/weft/cni.sock",
        "exemptNamespaces": ["istio-system", "kube-system"],
    }


def test_runtimes_take_the_first_file_in_lexical_order() -> None:
    names = [
        "99-loopback.conf",
        "10-calico.conflist",
        ".10-calico.conflist.77",
        "10-a.conf.weft-saved",
        "README",
        "x.json",
    ]
    assert candidates(names) == ["10-calico.conflist", "99-loopback.conf", "x.json"]


def test_a_file_that_is_named_is_the_only_one_also_after_a_chain_took_its_place() -> None:
    assert candidates(["05-other.conflist", "10-x.conf"], "10-x.conf") == ["10-x.conf"]
    assert candidates(["05-other.conflist", "10-x.conflist"], "10-x.conf") == ["10-x.conflist"]


def test_the_plugin_goes_to_the_end_of_a_chain_and_nothing_else_changes() -> None:
    step = insertion("10-x.conflist", chain(BRIDGE, PORTMAP, disableCheck=True), OWN)
    assert plugins(step) == [BRIDGE, PORTMAP, OWN]
    assert isinstance(step, Write)
    assert {key: value for key, value in json.loads(step.text).items() if key != "plugins"} == {
        "cniVersion": "1.0.0",
        "name": "pods",
        "disableCheck": True,
    }


@pytest.mark.parametrize("there", [(BRIDGE, OWN), (BRIDGE, OWN, PORTMAP)])
def test_a_chain_that_has_the_plugin_is_left_as_it_is(there: tuple[Any, ...]) -> None:
    assert insertion("10-x.conflist", chain(*there), OWN) is None


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ((BRIDGE, {"type": "weft-cni", "socket": "/old"}), [BRIDGE, OWN]),
        ((BRIDGE, {"type": "weft-cni", "socket": "/old"}, PORTMAP), [BRIDGE, OWN, PORTMAP]),
        ((BRIDGE, OWN, OWN), [BRIDGE, OWN]),
        ((OWN, BRIDGE), [BRIDGE, OWN]),
        ((OWN, BRIDGE, OWN), [BRIDGE, OWN]),
    ],
)
def test_an_entry_that_is_out_of_date_twice_or_first_is_put_right(there: tuple[Any, ...], then: list[Any]) -> None:
    step = insertion("10-x.conflist", chain(*there), OWN)
    assert plugins(step) == then
    assert isinstance(step, Write)
    assert insertion("10-x.conflist", step.text, OWN) is None


@pytest.mark.parametrize("file", ["10-x.conf", "10-x.json"])
def test_a_file_of_one_plugin_gives_way_to_a_chain(file: str) -> None:
    step = insertion(file, json.dumps({"cniVersion": "0.3.1", "name": "pods", **BRIDGE}), OWN)
    assert isinstance(step, Write)
    assert (step.name, step.saves) == ("10-x.conflist", file)
    assert json.loads(step.text) == {"cniVersion": "0.3.1", "name": "pods", "plugins": [BRIDGE, OWN]}
    names = ["10-x.conflist", f"{file}.weft-saved"]
    assert removal("10-x.conflist", step.text, names) == Restore(file, "10-x.conflist")


@pytest.mark.parametrize(
    ("file", "text", "field"),
    [
        ("a.conflist", "", "not JSON"),
        ("a.conflist", '{"cniVersion": "1.0.0", "plugins": [', "not JSON"),
        ("a.conflist", "[" * 100_000, "not JSON"),
        ("a.conflist", "[]", "not an object"),
        ("a.conflist", '{"plugins": []}', "cniVersion"),
        ("a.conflist", '{"cniVersion": 1}', "cniVersion"),
        ("a.conflist", '{"cniVersion": "0.2.0"}', "cniVersion"),
        ("a.conflist", '{"cniVersion": "newest"}', "cniVersion"),
        ("a.conflist", '{"cniVersion": "1.0.0"}', "plugins"),
        ("a.conflist", chain(), "plugins"),
        ("a.conflist", chain("bridge"), r"plugins\[0\]"),
        ("a.conflist", chain(BRIDGE, {}), r"plugins\[1\]"),
        ("a.conflist", chain(OWN), "plugins"),
        ("a.conf", '{"cniVersion": "1.0.0", "name": "x"}', "type"),
        ("a.conf", '{"cniVersion": "1.0.0", "name": "x", "type": "weft-cni"}', "type"),
        ("a.conf", '{"cniVersion": "1.0.0", "type": "bridge"}', "name"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_file_and_field(file: str, text: str, field: str) -> None:
    with pytest.raises(InvalidObjectError, match=f"^{file}: {field}"):
        insertion(file, text, OWN)


def test_removal_takes_out_the_plugin_alone() -> None:
    step = removal("10-x.conflist", chain(BRIDGE, OWN, PORTMAP), ["10-x.conflist"])
    assert plugins(step) == [BRIDGE, PORTMAP]
    assert removal("10-x.conflist", chain(BRIDGE, PORTMAP), ["10-x.conflist"]) is None
    assert removal("10-x.conf", json.dumps(BRIDGE), ["10-x.conf"]) is None
