"""Rules of merging a manifest into the stored object."""

import pytest

from agent.errors import InvalidObjectError
from agent.kube import Object, merge
from agent.lab.merge import changes, least_loaded, needs_new_pod, new_object, with_cluster_addresses


def a_service(**spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def a_namespace(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Object:
    metadata = {"name": "shop", "labels": labels or {}, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def test_a_manifest_s_status_is_not_stored() -> None:
    assert "status" not in new_object({**a_service(), "status": {"x": 1}})


def test_a_namespace_is_labelled_with_its_name() -> None:
    assert new_object(a_namespace())["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}


def test_the_manifest_owns_the_labels() -> None:
    stored = new_object(a_namespace({"a": "1", "b": "2"}))
    patch = changes(a_namespace({"a": "1", "b": "2"}), a_namespace({"b": "3"}), stored)
    assert patch == {"metadata": {"labels": {"a": None, "b": "3"}}}


def test_annotations_that_others_wrote_stay() -> None:
    before, now = a_namespace(annotations={"mine": "1"}), a_namespace(annotations={"other": "2"})
    stored = merge(new_object(before), {"metadata": {"annotations": {"weft's": "x"}}})
    assert changes(before, now, stored) == {"metadata": {"annotations": {"mine": None, "other": "2"}}}


def test_nothing_changes_when_nothing_was_edited() -> None:
    stored = {**new_object(a_service()), "status": {"loadBalancer": {}}}
    assert changes(a_service(), a_service(), stored) == {}


def test_addresses_that_the_server_gave_stay() -> None:
    stored = merge(new_object(a_service()), {"spec": {"clusterIP": "10.96.0.16"}})
    patch = changes(a_service(type="ClusterIP"), a_service(ports=[{"port": 81}]), stored)
    assert patch == {"spec": {"ports": [{"port": 81}]}}


def test_a_pod_with_another_spec_is_another_pod() -> None:
    pod: Object = {"kind": "Pod", "metadata": {"labels": {}}, "spec": {"containers": []}}
    assert not needs_new_pod(pod, {**pod, "metadata": {"labels": {"a": "b"}}})
    assert needs_new_pod(pod, {**pod, "spec": {"containers": [{}]}})


def test_a_service_gets_an_address_of_each_family() -> None:
    spec = with_cluster_addresses(a_service(), {"10.96.0.16", "fd96::10"})
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("10.96.0.17", ["10.96.0.17", "fd96::11"])
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "PreferDualStack")


def test_a_single_stack_service_gets_one_address() -> None:
    spec = with_cluster_addresses(a_service(ipFamilyPolicy="SingleStack", ipFamilies=["IPv6"]), ())
    assert spec["clusterIPs"] == ["fd96::10"]


def test_a_headless_service_gets_none() -> None:
    assert with_cluster_addresses(a_service(clusterIP="None"), ())["clusterIPs"] == ["None"]


def test_another_service_s_address_is_refused() -> None:
    with pytest.raises(InvalidObjectError, match=r"Service shop/web: spec.clusterIP: 10.96.0.20 is another"):
        with_cluster_addresses(a_service(clusterIP="10.96.0.20"), {"10.96.0.20"})


def test_a_pod_goes_where_the_fewest_are() -> None:
    assert least_loaded(["node-1", "node-2"], ["node-1"]) == "node-2"
    assert least_loaded(["node-1", "node-2"], []) == "node-1"


def a_peer_authentication(**ports: str) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"portLevelMtls": {port.removeprefix("port_"): {"mode": mode} for port, mode in ports.items()}},
    }


def test_a_policy_is_stored_as_written_and_its_status_stays() -> None:
    before, now = a_peer_authentication(port_80="STRICT"), a_peer_authentication(port_81="STRICT")
    stored = {**new_object(before), "status": {"conditions": []}}
    assert stored["spec"] == before["spec"]
    patch = changes(before, now, stored)
    assert merge(stored, patch) == {**new_object(now), "status": {"conditions": []}}
