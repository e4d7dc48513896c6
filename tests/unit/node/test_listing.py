from typing import Any

from agent.model import NodeName, Pod, PodUid
from agent.node.enrolment import Standing
from agent.node.inventory import Inventory
from agent.node.listing import pod_rows
from agent.node.selection import Enablement, Rules
from agent.wire import DATAPLANE_MODE_LABEL

HERE = NodeName("node-1")
AMBIENT = {DATAPLANE_MODE_LABEL: "ambient"}
NO_LABEL = "neither the pod nor its namespace has the label istio.io/dataplane-mode=ambient"


def a_pod(**changes: Any) -> Pod:
    given = {"namespace": "shop", "service_account": "web", "node": HERE, "addresses": ("10.0.0.7",), **changes}
    return Pod(PodUid("1"), "web", **given)


def row(
    pod: Pod, standing: Standing | None = None, *, labels: dict[str, str] | None = None, left: str = ""
) -> dict[str, object]:
    inventory = Inventory({pod.uid: pod}, {pod.namespace: labels or {}})
    (found,) = pod_rows(inventory, HERE, {pod.uid: standing} if standing else {}, {pod.uid: left} if left else {})
    return found


def state(
    pod: Pod, standing: Standing | None = None, *, labels: dict[str, str] | None = None, left: str = ""
) -> tuple[object, object]:
    found = row(pod, standing, labels=labels, left=left)
    return found["state"], found["reason"]


def test_a_row_has_all_that_names_the_pod() -> None:
    assert row(a_pod(), Standing(True), labels=AMBIENT) == {
        "namespace": "shop",
        "name": "web",
        "uid": "1",
        "account": "web",
        "addresses": ["10.0.0.7"],
        "state": "enrolled",
        "reason": "",
        "unusable": False,
        "sidecar": False,
        "injection": "",
        "without_effect": [],
    }


def test_a_pod_on_its_way_says_what_it_waits_for() -> None:
    assert state(a_pod(), Standing(False, "15001 is taken"), labels=AMBIENT) == ("pending", "15001 is taken")
    assert state(a_pod(), Standing(False), labels=AMBIENT) == ("pending", "it is being enrolled")
    assert state(a_pod(addresses=()), Standing(False), labels=AMBIENT) == ("pending", "it has no address yet")
    assert state(a_pod(), Standing(True)) == ("leaving", "")
    assert state(a_pod(), None, labels=AMBIENT) == ("outside", "it is about to be enrolled")


def test_a_pod_outside_says_why() -> None:
    network = "it is in its host's network, which never belongs to the mesh"
    assert state(a_pod()) == ("outside", NO_LABEL)
    assert state(a_pod(host_network=True), labels=AMBIENT) == ("outside", network)
    excluded = ("outside", "namespace kube-system never belongs to the mesh")
    assert state(a_pod(namespace="kube-system"), labels=AMBIENT) == excluded
    own = {DATAPLANE_MODE_LABEL: "none"}
    assert state(a_pod(labels=own), labels=AMBIENT) == ("outside", "its label says istio.io/dataplane-mode=none")


def test_a_pod_whose_label_cannot_be_used_stays_where_it_is() -> None:
    found = row(a_pod(), None, left="label odd")
    assert (found["state"], found["reason"], found["unusable"]) == ("outside", "label odd", True)
    assert state(a_pod(), Standing(True), left="label odd") == ("enrolled", "label odd")


def test_whoever_asks_for_a_sidecar_is_marked() -> None:
    injected = {"istio-injection": "enabled"}
    assert row(a_pod(), labels=injected)["sidecar"]
    assert row(a_pod(labels={"sidecar.istio.io/inject": "true"}))["sidecar"]
    assert not row(a_pod(labels={"sidecar.istio.io/inject": "false"}), labels=injected)["sidecar"]
    assert row(a_pod(sidecar="container istio-proxy"))["sidecar"]


def test_what_istios_agent_would_heed_and_this_one_does_not_is_named() -> None:
    given = {"ambient.istio.io/dns-capture": "false", "istio.io/reroute-virtual-interfaces": "tap0", "other": ""}
    assert row(a_pod(annotations=given))["without_effect"] == sorted(given)[:2]


def test_a_namespace_that_asks_for_injection_is_named_by_its_label() -> None:
    found = row(a_pod(), labels={"istio-injection": "enabled"})
    assert found["injection"] == "istio-injection=enabled"
    assert "istio.io/dataplane-mode=ambient does it" in str(found["reason"])


def test_where_selectors_say_what_labels_mean_a_namespaces_label_asks_for_no_sidecar() -> None:
    pod = a_pod()
    inventory = Inventory({pod.uid: pod}, {"shop": {"istio-injection": "enabled"}})
    (found,) = pod_rows(inventory, HERE, {}, {}, Rules(enablement=(Enablement(),)))
    assert (found["sidecar"], found["injection"]) == (False, "")


def test_a_pod_whom_the_rules_no_longer_want_is_leaving() -> None:
    pod = a_pod()
    inventory = Inventory({pod.uid: pod}, {"shop": AMBIENT})
    (found,) = pod_rows(inventory, HERE, {pod.uid: Standing(True)}, {}, Rules(excluded=frozenset({"shop"})))
    assert found["state"] == "leaving"


def test_only_living_pods_of_the_node_are_listed_by_name() -> None:
    pods = [
        Pod(PodUid("1"), "b", "shop", "web", HERE),
        Pod(PodUid("2"), "a", "shop", "web", HERE),
        Pod(PodUid("3"), "c", "shop", "web", NodeName("node-2")),
        Pod(PodUid("4"), "d", "shop", "web", HERE, is_finished=True),
    ]
    inventory = Inventory({pod.uid: pod for pod in pods})
    assert [found["name"] for found in pod_rows(inventory, HERE, {}, {})] == ["a", "b"]
