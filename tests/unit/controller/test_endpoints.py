"""Endpoints that EndpointSlices name, and what every change of the cluster makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from agent import wire
from agent.controller.addresses import Addresses
from agent.controller.cluster import ClusterState
from agent.controller.resources import Resource
from agent.kube import ENDPOINT_SLICE, POD, SERVICE, Change, ChangeType, Kind, Object
from agent.proto import workload_pb2 as pb
from tests.support.objects import a_pod, a_service

PLAIN = "Kubernetes/discovery.k8s.io/EndpointSlice/shop/web/"
POD_UID = "Kubernetes//Pod/shop/web-1"
HOST = "shop/web.shop.svc.cluster.local"


def a_slice(name: str = "web-1", service: str = "web", *endpoints: Object, **more: Any) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 9090, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **more,
    }


def at(address: str, *, ready: bool | None = None, pod: str = "", namespace: str = "shop") -> Object:
    found: Object = {"addresses": [address]}
    if ready is not None:
        found["conditions"] = {"ready": ready}
    if pod:
        found["targetRef"] = {"kind": "Pod", "name": pod, "namespace": namespace}
    return found


class World:
    """What is published, as the cluster changes."""

    def __init__(self, *given: Object) -> None:
        self.state = ClusterState(None)
        self.published: dict[str, pb.Address] = {}
        self.touched: set[str] = set()
        self._addresses = Addresses(self.state, self._publish, cluster="Kubernetes", trust_domain="cluster.local")
        for each in given:
            self.put(each)

    def put(self, given: Object) -> None:
        self._apply(ChangeType.MODIFIED, given)

    def delete(self, given: Object) -> None:
        self._apply(ChangeType.DELETED, given)

    def endpoint(self, address: str) -> pb.Workload:
        return self.published[PLAIN + address].workload

    def plain(self) -> list[str]:
        return sorted(name.removeprefix(PLAIN) for name in self.published if name.startswith(PLAIN))

    def _apply(self, type_: ChangeType, given: Object) -> None:
        kinds: dict[str, Kind] = {kind.name: kind for kind in (POD, SERVICE, ENDPOINT_SLICE)}
        self.touched.clear()
        self._addresses.update(self.state.apply(Change(type_, kinds[given["kind"]], given)))

    def _publish(self, type_url: str, changed: list[Resource], removed: list[str]) -> None:
        assert type_url == wire.ADDRESS_TYPE
        for name in removed:
            self.published.pop(name, None)
        for each in changed:
            response = kube_response(each)
            self.published[each.name] = response
            self.touched.add(each.name)


def kube_response(found: Resource) -> pb.Address:
    from envoy.service.discovery.v3 import discovery_pb2

    (one,) = discovery_pb2.DeltaDiscoveryResponse.FromString(found.encoded).resources
    return pb.Address.FromString(one.resource.value)


SELECTORLESS = a_service(selector={})


def test_a_plain_address_is_an_endpoint_of_which_nothing_else_is_known() -> None:
    world = World(SELECTORLESS, a_slice("web-1", "web", at("192.0.2.1")))
    assert world.endpoint("192.0.2.1") == pb.Workload(
        uid=PLAIN + "192.0.2.1",
        name="web",
        namespace="shop",
        addresses=[bytes([192, 0, 2, 1])],
        network_mode=pb.NetworkMode.HOST_NETWORK,
        status=pb.WorkloadStatus.HEALTHY,
        services={HOST: pb.PortList(ports=[pb.Port(service_port=80, target_port=9090, app_protocol=pb.HTTP11)])},
    )


@pytest.mark.parametrize(("ready", "status"), [(None, "HEALTHY"), (True, "HEALTHY"), (False, "UNHEALTHY")])
def test_an_endpoint_is_ready_unless_it_is_said_not_to_be(ready: bool | None, status: str) -> None:
    world = World(SELECTORLESS, a_slice("web-1", "web", at("192.0.2.1", ready=ready)))
    assert world.endpoint("192.0.2.1").status == pb.WorkloadStatus.Value(status)


def test_slices_of_a_service_are_one() -> None:
    more = a_slice("web-2", "web", at("2001:db8::1"), at("192.0.2.1"), addressType="IPv6", ports=[])
    world = World(SELECTORLESS, a_slice("web-1", "web", at("192.0.2.1"), at("192.0.2.2")), more)
    assert world.plain() == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    world.delete(more)
    assert world.plain() == ["192.0.2.1", "192.0.2.2"]
    assert len(world.endpoint("192.0.2.1").services[HOST].ports) == 1


def test_a_service_with_a_selector_has_the_pods_that_it_selects_and_no_others() -> None:
    world = World(a_service(), a_slice("web-1", "web", at("192.0.2.1"), at("10.0.0.7", pod="web-1")), a_pod())
    assert world.plain() == []
    assert world.published[POD_UID].workload.services[HOST].ports[0].target_port == 8080


def test_endpoints_follow_their_service_as_it_comes_changes_and_goes() -> None:
    world = World(a_slice("web-1", "web", at("192.0.2.1"), at("10.0.0.7", pod="web-1")), a_pod())
    assert world.plain() == []
    world.put(SELECTORLESS)
    assert world.plain() == ["192.0.2.1"]
    assert world.published[POD_UID].workload.services[HOST].ports[0].target_port == 9090
    world.put(a_service(selector={"app": "other"}))
    assert (world.plain(), HOST in world.published[POD_UID].workload.services) == ([], False)
    world.put(SELECTORLESS)
    world.delete(SELECTORLESS)
    assert (world.plain(), HOST in world.published[POD_UID].workload.services) == ([], False)


def test_a_pod_that_a_slice_names_is_known_as_the_pod_that_it_is() -> None:
    world = World(SELECTORLESS, a_slice("web-1", "web", at("10.0.0.7", pod="web-1")))
    assert world.plain() == []
    world.put(a_pod())
    assert list(world.published[POD_UID].workload.services) == [HOST]
    world.delete(a_slice("web-1", "web", at("10.0.0.7", pod="web-1")))
    assert list(world.published[POD_UID].workload.services) == []


@pytest.mark.parametrize(
    "endpoint",
    [at("10.0.0.7", pod="web-1", namespace="bank"), at("10.0.0.8", pod="web-1"), at("10.0.0.7", pod="web-2")],
    ids=["of another namespace", "at an address that is not its own", "of another name"],
)
def test_a_slice_cannot_make_a_pod_an_endpoint_that_is_not_the_one_it_names(endpoint: Object) -> None:
    world = World(SELECTORLESS, a_pod(), a_pod(namespace="bank", ip="10.0.0.7"), a_slice("web-1", "web", endpoint))
    assert world.plain() == []
    assert not world.published[POD_UID].workload.services
    assert not world.published["Kubernetes//Pod/bank/web-1"].workload.services


@pytest.mark.parametrize("namespace", ["shop", "bank"])
def test_an_address_that_is_a_pods_is_that_pod_whoever_names_it(namespace: str) -> None:
    """Else it would be called in plain text."""
    pod = a_pod(namespace=namespace, annotations={"ambient.istio.io/redirection": "enabled"})
    uid = f"Kubernetes//Pod/{namespace}/web-1"
    world = World(SELECTORLESS, a_slice("web-1", "web", at("10.0.0.7"), at("192.0.2.1")))
    assert world.plain() == ["10.0.0.7", "192.0.2.1"]
    world.put(pod)
    assert world.plain() == ["192.0.2.1"]
    assert world.published[uid].workload.services[HOST].ports[0].target_port == 9090
    assert world.published[uid].workload.tunnel_protocol == pb.HBONE
    world.put(a_slice("web-1", "web", at("192.0.2.1")))
    assert not world.published[uid].workload.services
    world.put(a_slice("web-1", "web", at("::ffff:10.0.0.7")))
    assert list(world.published[uid].workload.services) == [HOST]
    world.delete(pod)
    assert world.plain() == ["10.0.0.7"]


def test_an_address_that_is_not_ready_makes_no_pod_an_endpoint() -> None:
    world = World(SELECTORLESS, a_pod(), a_slice("web-1", "web", at("10.0.0.7", ready=False)))
    assert (world.plain(), list(world.published[POD_UID].workload.services)) == ([], [])


def test_an_address_that_pods_share_with_their_node_is_no_pod() -> None:
    world = World(SELECTORLESS, a_pod(host_network=True), a_slice("web-1", "web", at("10.0.0.7")))
    assert world.plain() == ["10.0.0.7"]
    assert not world.published[POD_UID].workload.services


def test_only_what_a_change_is_about_is_computed_anew() -> None:
    mail = a_service("mail", selector={}, ips=("10.96.0.2",))
    world = World(SELECTORLESS, mail, a_pod(), a_slice("mail-1", "mail", at("192.0.2.9")))
    world.put(a_slice("web-1", "web", at("192.0.2.1")))
    assert world.touched == {PLAIN + "192.0.2.1"}


@pytest.mark.parametrize(
    "given",
    [
        a_slice("x", "web", {"addresses": ["example.com"]}, addressType="FQDN"),
        a_slice("x", "another", at("192.0.2.1")),
        {**a_slice("x", "web", at("192.0.2.1")), "metadata": {"name": "x", "namespace": "shop", "labels": {}}},
    ],
    ids=["names", "of another service", "of no service"],
)
def test_other_lists_of_addresses_are_no_endpoints(given: Object) -> None:
    assert World(SELECTORLESS, given).plain() == []


def test_a_pod_that_runs_in_a_way_unknown_here_is_in_the_mesh_all_the_same() -> None:
    pod = a_pod()
    pod["spec"]["containers"][0] |= {
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
        "readinessProbe": {"grpc": {"port": 9090}},
        "lifecycle": {"stopSignal": "SIGUSR1"},
    }
    world = World(pod)
    assert (list(world.published), world.state.problems) == ([POD_UID], {})
