"""What exactly node proxies are told of ServiceEntries and WorkloadEntries."""

from __future__ import annotations

import ipaddress

import pytest

from agent.proto import workload_pb2 as pb
from tests.support.entry_world import TUNNEL, World, a_service_entry, a_workload_entry
from tests.support.objects import Object, a_pod, a_service

SE = "Kubernetes/networking.istio.io/ServiceEntry/shop/db/"
WE = "Kubernetes/networking.istio.io/WorkloadEntry/shop/vm-1"
POD = "Kubernetes//Pod/shop/web-1"
HOST = "shop/db.example.com"
PORT = pb.Port(service_port=5432, target_port=5432, app_protocol=pb.TCP)
ENDPOINT = {"address": "192.0.2.1"}


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def test_a_static_entry_with_an_endpoint() -> None:
    world = World(a_service_entry(addresses=["198.51.100.1", "2001:db8::1"], endpoints=[ENDPOINT]))
    assert world.service(HOST) == pb.Service(
        name="db",
        namespace="shop",
        hostname="db.example.com",
        addresses=[pb.NetworkAddress(address=packed("198.51.100.1")), pb.NetworkAddress(address=packed("2001:db8::1"))],
        ports=[PORT],
        canonical=True,
    )
    assert world.workload(SE + "192.0.2.1") == pb.Workload(
        uid=SE + "192.0.2.1",
        name="db",
        namespace="shop",
        addresses=[packed("192.0.2.1")],
        canonical_name="db",
        canonical_revision="latest",
        workload_type=pb.POD,
        workload_name="db",
        network_mode=pb.HOST_NETWORK,
        services={HOST: pb.PortList(ports=[PORT])},
    )
    assert world.addresses.problems() == []


def test_all_that_an_endpoint_may_say() -> None:
    endpoint = {
        "address": "2001:db8::9",
        "ports": {"tcp-db": 6543},
        "weight": 3,
        "locality": "eu/eu-1/a",
        "serviceAccount": "db",
    }
    labels = {**TUNNEL, "app": "store", "version": "v2"}
    names = ["spiffe://cluster.local/ns/shop/sa/other"]
    world = World(a_service_entry(labels=labels, endpoints=[endpoint], subjectAltNames=names))
    found = world.workload(SE + "2001:db8::9")
    assert found == pb.Workload(
        uid=SE + "2001:db8::9",
        name="db",
        namespace="shop",
        addresses=[packed("2001:db8::9")],
        tunnel_protocol=pb.HBONE,
        native_tunnel=True,
        service_account="db",
        canonical_name="store",
        canonical_revision="v2",
        workload_type=pb.POD,
        workload_name="db",
        locality=pb.Locality(region="eu", zone="eu-1", subzone="a"),
        capacity={"value": 3},
        services={HOST: pb.PortList(ports=[pb.Port(service_port=5432, target_port=6543, app_protocol=pb.TCP)])},
    )
    assert world.service(HOST).subject_alt_names == names
    assert world.catalogue.lookup("/2001:db8::9") == {found.uid}


@pytest.mark.parametrize("location", ["MESH_EXTERNAL", "MESH_INTERNAL"])
def test_where_an_entry_is_said_to_be_makes_no_tunnel(location: str) -> None:
    world = World(a_service_entry(endpoints=[ENDPOINT], location=location))
    assert world.workload(SE + "192.0.2.1").tunnel_protocol == pb.NONE


def test_without_resolution_connections_go_where_they_were_going() -> None:
    world = World(a_service_entry(resolution="NONE", addresses=["198.51.100.0/24", "198.51.100.7/32"]))
    found = world.service(HOST)
    assert found.load_balancing == pb.LoadBalancing(
        mode=pb.LoadBalancing.PASSTHROUGH, health_policy=pb.LoadBalancing.ALLOW_ALL
    )
    assert list(found.addresses) == [
        pb.NetworkAddress(address=packed("198.51.100.0"), length=24),
        pb.NetworkAddress(address=packed("198.51.100.7")),
    ]


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_hosts_of_dns_are_their_own_endpoints(resolution: str) -> None:
    given = a_service_entry("db", "shop", "a.example.com", "b.example.com", resolution=resolution)
    given["spec"]["ports"][0]["protocol"] = "TLS"
    world = World(given)
    found = world.workload(SE + "a.example.com")
    assert (found.hostname, list(found.addresses), list(found.services)) == (
        "a.example.com",
        [],
        ["shop/a.example.com"],
    )
    assert world.has(SE + "b.example.com")
    assert world.lacks("ServiceEntry", "db")[:2] == [
        f"spec.hosts: node proxies look up no names, so no connection is led to {host}.example.com" for host in "ab"
    ]


def test_names_as_endpoints_take_the_place_of_hosts() -> None:
    world = World(
        a_service_entry(resolution="DNS", addresses=["198.51.100.1"], endpoints=[{"address": "real.example.com"}])
    )
    assert world.names() == {HOST, SE + "real.example.com"}
    assert world.workload(SE + "real.example.com").hostname == "real.example.com"


def test_a_wildcard_whose_names_are_looked_up_one_by_one() -> None:
    ports = [{"number": 443, "name": "tls", "protocol": "TLS"}]
    world = World(a_service_entry("db", "shop", "*.example.com", resolution="DYNAMIC_DNS", ports=ports))
    assert world.workload(SE + "*.example.com").hostname == "*.example.com"
    assert world.service("shop/*.example.com").ports[0].app_protocol == pb.TLS


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("http", pb.HTTP11),
        ("HTTP2", pb.HTTP2),
        ("GRPC", pb.GRPC),
        ("GRPC-WEB", pb.UNKNOWN),
        ("HTTPS", pb.TLS),
        ("TCP", pb.TCP),
        ("MONGO", pb.UNKNOWN),
        ("", pb.UNKNOWN),
    ],
)
def test_what_a_port_carries(protocol: str, expected: int) -> None:
    ports = [{"number": 80, "name": "p", "protocol": protocol, "targetPort": 8080}]
    world = World(a_service_entry(ports=[*ports, {"number": 53, "name": "dns", "protocol": "UDP"}]))
    assert list(world.service(HOST).ports) == [pb.Port(service_port=80, target_port=8080, app_protocol=expected)]


def test_a_selector_means_pods_and_workload_entries_of_its_namespace() -> None:
    ports = [{"number": 80, "name": "web", "protocol": "HTTP", "targetPort": 8000}]
    entry = a_service_entry(workloadSelector={"labels": {"app": "web"}}, ports=ports)
    vm = a_workload_entry(labels={"app": "web"}, ports={"web": 9000})
    world = World(
        a_pod(), a_pod("web-2", ip="10.0.0.8", ports={"web": 8001}), a_pod(namespace="bank", ip="10.0.0.9"), vm
    )
    world.put(entry)

    def target(name: str) -> list[int]:
        return [port.target_port for port in world.workload(name).services[HOST].ports]

    assert (target(POD), target("Kubernetes//Pod/shop/web-2"), target(WE)) == ([8000], [8001], [9000])
    assert not world.workload("Kubernetes//Pod/bank/web-1").services
    world.delete(entry)
    assert not world.workload(POD).services
    assert not world.workload(WE).services


def test_a_workload_entry_alone() -> None:
    world = World(a_workload_entry(labels={"app": "legacy"}, serviceAccount="vm", weight=2))
    assert world.workload(WE) == pb.Workload(
        uid=WE,
        name="vm-1",
        namespace="shop",
        addresses=[packed("192.0.2.9")],
        service_account="vm",
        canonical_name="legacy",
        canonical_revision="latest",
        workload_type=pb.POD,
        workload_name="vm-1",
        capacity={"value": 2},
    )
    assert world.catalogue.lookup("/192.0.2.9") == {WE}


@pytest.mark.parametrize(
    ("given", "tunnel", "native"),
    [
        ({"labels": TUNNEL}, pb.HBONE, True),
        ({"labels": {"networking.istio.io/tunnel": "x,http"}}, pb.HBONE, True),
        ({"annotations": {"ambient.istio.io/redirection": "enabled"}}, pb.HBONE, False),
        ({"labels": {"networking.istio.io/tunnel": "none"}}, pb.NONE, False),
    ],
)
def test_a_workload_entry_is_tunnelled_to_if_it_says_so(given: Object, tunnel: int, native: bool) -> None:
    found = World(a_workload_entry(**given)).workload(WE)
    assert (found.tunnel_protocol, found.native_tunnel) == (tunnel, native)


def test_labels_of_a_workload_entry_are_in_two_places_and_metadata_counts_first() -> None:
    spec = a_workload_entry(labels={"app": "web"})
    spec["spec"]["labels"] = {"app": "other", "version": "v3", "service.istio.io/workload-name": "fleet"}
    world = World(spec, a_service())
    found = world.workload(WE)
    assert (found.canonical_name, found.canonical_revision, found.workload_name) == ("web", "v3", "fleet")
    assert list(found.services) == ["shop/web.shop.svc.cluster.local"]


def test_an_entry_that_registered_itself_is_named_after_its_group() -> None:
    assert (
        World(a_workload_entry(annotations={"istio.io/autoRegistrationGroup": "vms"})).workload(WE).workload_name
        == "vms"
    )


def test_a_kubernetes_service_has_workload_entries_for_endpoints() -> None:
    ports = (
        {"port": 80, "targetPort": "http"},
        {"port": 81, "targetPort": "absent"},
        {"port": 82, "name": "own"},
        {"port": 83},
    )
    vm = a_workload_entry(labels={"app": "web"}, ports={"http": 8080, "own": 8282})
    world = World(vm, a_service(ports=ports))
    found = world.workload(WE).services["shop/web.shop.svc.cluster.local"].ports
    assert [(port.service_port, port.target_port) for port in found] == [(80, 8080), (82, 8282), (83, 83)]
    world.delete(a_service(ports=ports))
    assert not world.workload(WE).services


def test_what_cannot_be_reached_is_told_all_the_same_and_its_author_hears_of_it() -> None:
    named = World(a_workload_entry(address="vm.example.com"))
    assert (named.workload(WE).hostname, list(named.workload(WE).addresses)) == ("vm.example.com", [])
    assert named.lacks("WorkloadEntry", "vm-1") == [
        "spec: node proxies look up no names, so no connection is led to vm.example.com"
    ]
    remote = World(a_workload_entry(network="far"))
    assert remote.workload(WE).network == "far"
    assert remote.lacks("WorkloadEntry", "vm-1") == [
        "spec.network: node proxies reach no other network, so no connection is led to it"
    ]
    assert remote.catalogue.lookup("/192.0.2.9") == set()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"address": "unix:///run/db.sock"}, "node proxies reach no sockets of unix://"),
        ({"address": "fe80::1%eth0"}, "is known on one machine only"),
        ({"serviceAccount": "x/../../ns/bank/sa/db"}, "read 'x/../../ns/bank/sa/db'"),
    ],
)
def test_what_nobody_could_use_is_not_told(spec: Object, says: str) -> None:
    world = World(a_workload_entry(**spec))
    assert world.names() == set()
    (told,) = world.lacks("WorkloadEntry", "vm-1")
    assert says in told


def test_an_entry_goes_with_all_that_it_brought() -> None:
    given = a_service_entry("db", "shop", "a.example.com", "b.example.com", endpoints=[ENDPOINT])
    given["spec"]["ports"][0]["protocol"] = "TLS"
    world = World(given)
    assert len(world.names()) == 3
    given["spec"]["hosts"] = ["b.example.com"]
    world.put(given)
    assert world.names() == {"shop/b.example.com", SE + "192.0.2.1"}
    world.delete(given)
    assert (world.names(), world.addresses.problems()) == (set(), [])


def test_preferences_come_from_the_entry_or_its_namespace() -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "shop",
            "uid": "u",
            "annotations": {"networking.istio.io/traffic-distribution": "PreferClose"},
        },
    }
    wish = {"networking.istio.io/traffic-distribution": "PreferSameNode"}
    world = World(a_service_entry(), a_service_entry("own", "shop", "own.example.com", annotations=wish), a_service())
    assert not world.service(HOST).HasField("load_balancing")
    world.put(namespace)
    scope = pb.LoadBalancing.Scope
    close = pb.LoadBalancing(
        routing_preference=[scope.NETWORK, scope.REGION, scope.ZONE], mode=pb.LoadBalancing.FAILOVER
    )
    assert world.service(HOST).load_balancing == close
    assert world.service("shop/web.shop.svc.cluster.local").load_balancing == close
    assert scope.NODE in world.service("shop/own.example.com").load_balancing.routing_preference


def test_policies_are_listed_by_entries_that_they_select() -> None:
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": "legacy"}}},
    }
    labels = {"app": "legacy"}
    world = World(a_workload_entry(labels=labels), a_service_entry(labels=labels, endpoints=[ENDPOINT]))
    world.put(policy)
    assert list(world.workload(WE).authorization_policies) == ["shop/p"]
    assert list(world.workload(SE + "192.0.2.1").authorization_policies) == ["shop/p"]
    world.delete(policy)
    assert list(world.workload(WE).authorization_policies) == []
