from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from agent.model import NodeName, Pod, PodUid
from agent.node.selection import Enablement, Rules, Selection, Verdict, asks_for_injection, judge, select
from agent.wire import DATAPLANE_MODE_LABEL, INJECTION_LABEL, REVISION_LABEL

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


@dataclass(frozen=True)
class Has:
    """A selector of one label."""

    key: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        return labels.get(self.key) == self.value


CANARY = "label istio.io/rev=canary: it is another mesh's; this one is default"


@pytest.mark.parametrize(
    ("own", "of_namespace", "revision", "reason"),
    [
        ({}, {}, "default", ""),
        ({REVISION_LABEL: "default"}, {REVISION_LABEL: "canary"}, "default", ""),
        ({}, {REVISION_LABEL: "canary"}, "canary", ""),
        ({}, {REVISION_LABEL: "canary"}, "default", CANARY),
        ({REVISION_LABEL: "canary"}, {}, "default", CANARY),
        ({}, {}, "canary", "label istio.io/rev=default: it is another mesh's; this one is canary"),
    ],
)
def test_a_pod_of_another_revision_is_left_alone(
    own: dict[str, str], of_namespace: dict[str, str], revision: str, reason: str
) -> None:
    pod, rules = a_pod(labels=own), Rules(revision=revision)
    assert judge(pod, {**AMBIENT, **of_namespace}, rules) == Verdict(not reason, reason)


@pytest.mark.parametrize("sidecar", ["container istio-proxy", "annotation sidecar.istio.io/status"])
@pytest.mark.parametrize("enrolled", [(), ("1",)])
def test_a_pod_with_a_sidecar_is_refused_whether_it_is_enrolled_or_not(sidecar: str, enrolled: tuple[str, ...]) -> None:
    selected = select([a_pod(sidecar=sidecar)], {"shop": AMBIENT}, HERE, [PodUid(uid) for uid in enrolled])
    assert (selected.wanted, list(selected.problems)) == ({}, ["1"])
    assert selected.problems[PodUid("1")].startswith(f"its sidecar ({sidecar}) carries its traffic already; to enrol")


def test_a_sidecar_of_a_pod_that_nobody_wants_to_enrol_is_no_problem() -> None:
    assert select([a_pod(sidecar="container istio-proxy")], {}, HERE, []) == Selection()


def test_excluded_namespaces_are_a_setting() -> None:
    rules = Rules(excluded=frozenset({"shop"}))
    assert judge(a_pod(mode="ambient"), {}, rules) == Verdict(False, "namespace shop never belongs to the mesh")
    assert judge(a_pod(mode="ambient", namespace="kube-system"), {}, rules).is_wanted


def test_a_namespace_that_discovery_leaves_out_has_no_enrolled_pods() -> None:
    rules = Rules(discovery=(Has("mesh", "a"), Has("mesh", "b")))
    assert judge(a_pod(), {**AMBIENT, "mesh": "b"}, rules).is_wanted
    out = Verdict(False, "the mesh's discoverySelectors leave namespace shop out")
    assert judge(a_pod(mode="ambient"), AMBIENT, rules) == out


@pytest.mark.parametrize("enrolled", [(), ("1",)])
def test_while_nobody_knows_the_meshs_settings_nobody_joins_or_leaves(enrolled: tuple[str, ...]) -> None:
    rules = Rules(obstacle="they cannot be read")
    pods = [a_pod("1", mode="ambient"), a_pod("2", "10.0.0.8")]
    selected = select(pods, {}, HERE, [PodUid(uid) for uid in enrolled], rules)
    assert (set(selected.wanted), selected.problems) == (set(enrolled), {"1": "they cannot be read"})


def test_enablement_selectors_take_the_place_of_the_label() -> None:
    rules = Rules(enablement=(Enablement(Has("mesh", "yes")), Enablement(namespace=Has(INJECTION_LABEL, "enabled"))))
    assert judge(a_pod(labels={"mesh": "yes"}), {}, rules).is_wanted
    assert judge(a_pod(), {INJECTION_LABEL: "enabled"}, rules).is_wanted
    unmatched = Verdict(False, "none of the node agent's AMBIENT_ENABLEMENT_SELECTOR matches it")
    assert judge(a_pod(mode="ambient"), AMBIENT, rules) == unmatched


def test_both_selectors_of_an_enablement_must_match() -> None:
    both = Enablement(Has("app", "web"), Has("team", "shop"))
    assert both.matches({"app": "web"}, {"team": "shop"})
    assert not both.matches({"app": "web"}, {}) and not both.matches({}, {"team": "shop"})
    assert Enablement().matches({}, {})


@pytest.mark.parametrize(
    ("own", "of_namespace", "asked"),
    [
        ({}, {INJECTION_LABEL: "enabled"}, "istio-injection=enabled"),
        ({}, {REVISION_LABEL: "default"}, "istio.io/rev=default"),
        ({}, {REVISION_LABEL: "canary"}, ""),
        ({}, {INJECTION_LABEL: "disabled"}, ""),
        ({}, {INJECTION_LABEL: "enabled", **AMBIENT}, ""),
        ({DATAPLANE_MODE_LABEL: "none"}, {INJECTION_LABEL: "enabled"}, ""),
    ],
)
def test_a_namespace_that_asks_for_injection_is_told_the_label_that_enrols(
    own: dict[str, str], of_namespace: dict[str, str], asked: str
) -> None:
    pod = a_pod(labels=own)
    assert asks_for_injection(pod, of_namespace) == asked
    says = judge(pod, of_namespace).reason
    assert (f"label {asked}, by which nobody is enrolled: istio.io/dataplane-mode=ambient" in says) == bool(asked)
