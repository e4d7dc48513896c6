from __future__ import annotations

import pytest

from agent.model import NodeName, Pod, PodUid
from agent.node.selection import Selection, select
from agent.wire import DATAPLANE_MODE_LABEL

HERE = NodeName("node-1")
AMBIENT = {DATAPLANE_MODE_LABEL: "ambient"}


def a_pod(uid: str = "1", ip: str = "10.0.0.7", mode: str | None = None, **changes: object) -> Pod:
    fields: dict[str, object] = {
        "uid": PodUid(uid),
        "name": f"web-{uid}",
        "namespace": "shop",
        "service_account": "web",
        "node": HERE,
        "addresses": (ip,),
        "labels": {} if mode is None else {DATAPLANE_MODE_LABEL: mode},
    }
    return Pod(**{**fields, **changes})  # type: ignore[arg-type]


def chosen(
    pods: list[Pod], namespaces: dict[str, dict[str, str]] | None = None, enrolled: tuple[str, ...] = ()
) -> set[str]:
    return set(select(pods, namespaces or {}, HERE, [PodUid(uid) for uid in enrolled]).wanted)


def test_an_ambient_pod_is_wanted() -> None:
    pod = a_pod(mode="ambient")
    assert select([pod], {}, HERE, []) == Selection({pod.uid: pod}, {})


def test_the_pods_label_beats_its_namespaces() -> None:
    namespaces = {"shop": AMBIENT}
    assert chosen([a_pod("1"), a_pod("2", "10.0.0.8", mode="none")], namespaces) == {"1"}
    assert chosen([a_pod("3", mode="ambient")], {"shop": {DATAPLANE_MODE_LABEL: "none"}}) == {"3"}


@pytest.mark.parametrize(
    "changes",
    [{"node": NodeName("node-2")}, {"host_network": True}, {"is_finished": True}]
    + [{"namespace": name} for name in ("kube-system", "istio-system")],
)
def test_pods_that_are_never_enrolled(changes: dict[str, object]) -> None:
    assert chosen([a_pod(mode="ambient", **changes)], {}) == set()


def test_a_terminating_pod_stays_until_it_is_gone() -> None:
    assert chosen([a_pod(mode="ambient", is_terminating=True)]) == {"1"}


@pytest.mark.parametrize("enrolled", [(), ("1",)])
def test_an_unknown_mode_changes_nothing_and_is_reported(enrolled: tuple[str, ...]) -> None:
    selected = select([a_pod(mode="sidecar")], {"shop": AMBIENT}, HERE, [PodUid(uid) for uid in enrolled])
    assert set(selected.wanted) == set(enrolled)
    assert selected.problems == {"1": "label istio.io/dataplane-mode=sidecar is not known; accepted are ambient, none"}


def test_two_live_pods_with_one_address_are_not_newly_enrolled() -> None:
    pods = [a_pod("1", mode="ambient"), a_pod("2", mode="ambient"), a_pod("3", "10.0.0.8", mode="ambient")]
    assert chosen(pods) == {"3"}
    assert set(select(pods, {}, HERE, []).problems) == {"1", "2"}
    assert chosen(pods, enrolled=("1",)) == {"1", "3"}


def test_a_finished_pod_claims_no_address() -> None:
    assert chosen([a_pod("1", mode="ambient"), a_pod("2", is_finished=True)]) == {"1"}
