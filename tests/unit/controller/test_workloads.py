import ipaddress
from typing import Any

import pytest

from agent import kube
from agent.api import kubernetes
from agent.controller import workloads
from agent.controller.cluster import ClusterState, Locality
from agent.proto import workload_pb2 as pb
from tests.support.objects import Object, a_pod, a_service

ENROLLED = {"ambient.istio.io/redirection": "enabled"}


def workload_of(
    pod: Object, *services: Object, cluster: str = "Kubernetes", trust_domain: str = "cluster.local"
) -> Any:
    state = ClusterState("state")
    state.apply(kube.Change(kube.ChangeType.ADDED, kube.POD, pod))
    for each in services:
        state.apply(kube.Change(kube.ChangeType.ADDED, kube.SERVICE, each))
    (candidate,) = state.candidates.values()
    found = workloads.workload(candidate, state.services.values(), cluster=cluster, trust_domain=trust_domain)
    return found.workload


def service_of(given: Object) -> Any:
    parsed = kubernetes.parse(given, "state")
    assert isinstance(parsed, kubernetes.Service)
    return workloads.service(parsed).service


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def test_an_enrolled_pod_behind_a_service() -> None:
    assert workload_of(a_pod(annotations=ENROLLED), a_service()) == pb.Workload(
        uid="Kubernetes//Pod/shop/web-1",
        name="web-1",
        namespace="shop",
        addresses=[packed("10.0.0.7")],
        tunnel_protocol=pb.HBONE,
        service_account="web",
        node="node-1",
        canonical_name="web",
        canonical_revision="latest",
        workload_type=pb.POD,
        workload_name="web-1",
        services={
            "shop/web.shop.svc.cluster.local": pb.PortList(
                ports=[pb.Port(service_port=80, target_port=8080, app_protocol=pb.HTTP11)]
            )
        },
    )


def test_what_a_proxy_takes_for_granted_is_left_out() -> None:
    plain = workload_of(a_pod(account="default"))
    assert (plain.trust_domain, plain.service_account, plain.cluster_id, plain.HasField("capacity")) == (
        "",
        "",
        "",
        False,
    )
    told = workload_of(a_pod(account="web"), cluster="east", trust_domain="example.org")
    assert (told.trust_domain, told.service_account, told.cluster_id) == ("example.org", "web", "east")
    assert told.uid == "east//Pod/shop/web-1"


@pytest.mark.parametrize("annotations", [{}, {"ambient.istio.io/redirection": "pending"}])
def test_a_pod_that_is_not_captured_gets_no_tunnel(annotations: dict[str, str]) -> None:
    assert workload_of(a_pod(annotations=annotations)).tunnel_protocol == pb.NONE


def test_a_host_network_pod_gets_no_tunnel_whatever_it_says() -> None:
    found = workload_of(a_pod(annotations=ENROLLED, host_network=True))
    assert (found.tunnel_protocol, found.network_mode) == (pb.NONE, pb.HOST_NETWORK)


def test_a_pod_that_takes_hbone_itself_is_told_so() -> None:
    found = workload_of(a_pod(labels={"networking.istio.io/tunnel": "http"}))
    assert (found.tunnel_protocol, found.native_tunnel) == (pb.HBONE, True)
    on_host = workload_of(a_pod(labels={"networking.istio.io/tunnel": "http"}, host_network=True))
    assert (on_host.tunnel_protocol, on_host.native_tunnel) == (pb.NONE, False)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"name": "http"}, pb.HTTP11),
        ({"name": "HTTP-api"}, pb.HTTP11),
        ({"name": "http2-x"}, pb.HTTP2),
        ({"name": "grpc-x"}, pb.GRPC),
        ({"name": "grpc-web"}, pb.UNKNOWN),
        ({"name": "https"}, pb.TLS),
        ({"name": "web"}, pb.UNKNOWN),
        ({"name": "http", "appProtocol": "tcp"}, pb.TCP),
        ({"name": "http", "appProtocol": "mine"}, pb.UNKNOWN),
        ({"appProtocol": "http-x"}, pb.HTTP11),
        ({"appProtocol": "kubernetes.io/h2c"}, pb.HTTP2),
        ({"appProtocol": "kubernetes.io/ws"}, pb.HTTP11),
        ({"appProtocol": "kubernetes.io/wss"}, pb.TLS),
        ({"port": 3306}, pb.TCP),
        ({"port": 25, "name": "mail"}, pb.TCP),
        ({"port": 3306, "name": "mysql"}, pb.UNKNOWN),
        ({"port": 3306, "name": "http"}, pb.HTTP11),
    ],
)
def test_what_a_port_carries_is_said_by_its_protocol_or_its_name(port: Object, expected: int) -> None:
    (found,) = service_of(a_service(ports=({"port": 80, **port},))).ports
    assert found.app_protocol == expected


@pytest.mark.parametrize(
    ("pod", "status"),
    [
        (a_pod(), pb.HEALTHY),
        (a_pod(ready=False), pb.UNHEALTHY),
        (a_pod(terminating=True), pb.UNHEALTHY),
    ],
)
def test_health_is_ready_and_not_terminating(pod: Object, status: int) -> None:
    assert workload_of(pod).status == status


@pytest.mark.parametrize(
    ("labels", "name", "revision"),
    [
        ({}, "web-1", "latest"),
        ({"app": "a", "version": "v1"}, "a", "v1"),
        ({"app": "a", "app.kubernetes.io/name": "b", "app.kubernetes.io/version": "v2", "version": "v1"}, "b", "v2"),
        (
            {
                "app.kubernetes.io/name": "b",
                "service.istio.io/canonical-name": "c",
                "service.istio.io/canonical-revision": "v3",
            },
            "c",
            "v3",
        ),
    ],
)
def test_canonical_name_and_revision_come_from_labels(labels: dict[str, str], name: str, revision: str) -> None:
    found = workload_of(a_pod(labels=labels))
    assert (found.canonical_name, found.canonical_revision) == (name, revision)


def test_a_named_target_port_is_resolved_in_each_pod() -> None:
    ports = ({"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": "absent"}, {"port": 82})
    found = workload_of(a_pod(ports={"http": 8081}), a_service(ports=ports))
    assert [
        (port.service_port, port.target_port) for port in found.services["shop/web.shop.svc.cluster.local"].ports
    ] == [
        (80, 8081),
        (82, 82),
    ]
    assert [(port.service_port, port.target_port) for port in service_of(a_service(ports=ports)).ports] == [
        (80, 0),
        (81, 0),
        (82, 82),
    ]


def test_only_tcp_ports_are_published() -> None:
    ports = ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})
    assert [port.service_port for port in service_of(a_service(ports=ports)).ports] == [53]


def test_a_pod_is_no_endpoint_of_services_that_do_not_select_it() -> None:
    others = [
        a_service("other", selector={"app": "other"}),
        a_service("selectorless", selector={}),
        a_service("elsewhere", namespace="bank"),
        a_service("alias", type="ExternalName"),
    ]
    assert not workload_of(a_pod(), *others).services


def test_where_a_node_stands_is_told() -> None:
    state = ClusterState("state")
    state.apply(kube.Change(kube.ChangeType.ADDED, kube.POD, a_pod()))
    (candidate,) = state.candidates.values()
    found = workloads.workload(candidate, (), cluster="c", trust_domain="t", locality=Locality("eu", "eu-1"))
    assert found.workload.locality == pb.Locality(region="eu", zone="eu-1")


def test_a_dual_stack_service_has_both_addresses() -> None:
    found = service_of(a_service(ips=("10.96.0.1", "fd00::1"), ipFamilies=["IPv4", "IPv6"]))
    assert found == pb.Service(
        name="web",
        namespace="shop",
        hostname="web.shop.svc.cluster.local",
        addresses=[pb.NetworkAddress(address=packed("10.96.0.1")), pb.NetworkAddress(address=packed("fd00::1"))],
        ports=[pb.Port(service_port=80, target_port=8080, app_protocol=pb.HTTP11)],
        ip_families=pb.DUAL,
        canonical=True,
    )


def test_a_headless_service_is_published_without_address() -> None:
    assert list(service_of(a_service(ips=("None",))).addresses) == []


_NETWORK_TO_ZONE = [pb.LoadBalancing.NETWORK, pb.LoadBalancing.REGION, pb.LoadBalancing.ZONE]


@pytest.mark.parametrize(
    ("service", "mode", "scopes", "health"),
    [
        (a_service(), 0, [], 0),
        (a_service(publishNotReadyAddresses=True), 0, [], pb.LoadBalancing.ALLOW_ALL),
        (a_service(internalTrafficPolicy="Local"), pb.LoadBalancing.STRICT, [pb.LoadBalancing.NODE], 0),
        (
            a_service(internalTrafficPolicy="Local", trafficDistribution="PreferClose"),
            pb.LoadBalancing.STRICT,
            [pb.LoadBalancing.NODE],
            0,
        ),
        (a_service(trafficDistribution="PreferClose"), pb.LoadBalancing.FAILOVER, _NETWORK_TO_ZONE, 0),
        (
            a_service(trafficDistribution="PreferSameNode"),
            pb.LoadBalancing.FAILOVER,
            [*_NETWORK_TO_ZONE, pb.LoadBalancing.SUBZONE, pb.LoadBalancing.NODE],
            0,
        ),
        (a_service(trafficDistribution="PreferSameZone"), pb.LoadBalancing.FAILOVER, _NETWORK_TO_ZONE, 0),
        (a_service(annotations={"networking.istio.io/traffic-distribution": "elsewhere"}), 0, [], 0),
        (
            a_service(trafficDistribution="PreferClose", publishNotReadyAddresses=True),
            pb.LoadBalancing.FAILOVER,
            _NETWORK_TO_ZONE,
            pb.LoadBalancing.ALLOW_ALL,
        ),
        (
            a_service(annotations={"networking.istio.io/traffic-distribution": "PreferClose"}),
            pb.LoadBalancing.FAILOVER,
            _NETWORK_TO_ZONE,
            0,
        ),
    ],
)
def test_load_balancing_follows_the_service(service: Object, mode: int, scopes: list[int], health: int) -> None:
    found = service_of(service).load_balancing
    assert (found.mode, list(found.routing_preference), found.health_policy) == (mode, scopes, health)
