"""No entry takes an address or a host that is another's: whoever came first, and whoever comes or goes later."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from agent.controller.touched import Holder
from agent.proto import workload_pb2 as pb
from tests.support.entry_world import NEW, OLD, TUNNEL, World, a_service_entry, a_workload_entry
from tests.support.objects import Object, a_node, a_pod, a_service

VICTIM = "10.0.0.7"
VICTIM_POD = "Kubernetes//Pod/bank/web-1"
VICTIM_SERVICE = "bank/web.bank.svc.cluster.local"
SE = "Kubernetes/networking.istio.io/ServiceEntry/mallory/"
WE = "Kubernetes/networking.istio.io/WorkloadEntry/mallory/vm-1"
OWN = {"endpoints": [{"address": "10.9.9.9"}]}


def pod() -> Object:
    return a_pod(namespace="bank", annotations={"ambient.istio.io/redirection": "enabled"})


def service() -> Object:
    return a_service(namespace="bank")


VICTIMS: dict[str, Callable[[], Object]] = {
    "a pod": pod,
    "a pod in its node's network": lambda: a_pod(namespace="bank", host_network=True),
    "a Service": lambda: a_service(namespace="bank", ips=(VICTIM,)),
    "a load balancer": lambda: {
        **a_service(namespace="bank"),
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}, {"ip": VICTIM}]}},
    },
    "a node": lambda: {**a_node(), "status": {"addresses": [{"type": "InternalIP", "address": VICTIM}]}},
}
SHARED_BY_MANY = (VICTIMS["a pod in its node's network"], VICTIMS["a load balancer"], VICTIMS["a node"])
ATTACKS: dict[str, Callable[[], Object]] = {
    "a virtual address": lambda: a_service_entry("x", "mallory", "x.example.com", addresses=[VICTIM], **OWN),
    "in IPv6": lambda: a_service_entry("x", "mallory", "x.example.com", addresses=[f"::ffff:{VICTIM}"], **OWN),
    "as a block": lambda: a_service_entry("x", "mallory", "x.example.com", addresses=[f"{VICTIM}/32"], **OWN),
    "as a mapped block": lambda: a_service_entry(
        "x", "mallory", "x.example.com", addresses=[f"::ffff:{VICTIM}/128"], **OWN
    ),
    "to pass it on": lambda: a_service_entry("x", "mallory", "x.example.com", addresses=[VICTIM], resolution="NONE"),
    "an endpoint": lambda: a_service_entry("x", "mallory", "x.example.com", endpoints=[{"address": VICTIM}]),
    "a tunnelled endpoint": lambda: a_service_entry(
        "x", "mallory", "x.example.com", labels=TUNNEL, endpoints=[{"address": f"::ffff:{VICTIM}"}]
    ),
    "a workload": lambda: a_workload_entry("vm-1", "mallory", address=VICTIM),
    "a tunnelled workload": lambda: a_workload_entry("vm-1", "mallory", address=VICTIM, labels=TUNNEL),
    "a mapped workload": lambda: a_workload_entry("vm-1", "mallory", address=f"::ffff:{VICTIM}", labels=TUNNEL),
}


def leading(world: World, address: str, ours: str) -> list[str]:
    """Names of the attacker's resources to which a proxy would lead connections to an address."""
    packed = bytes(map(int, address.split(".")))
    found = []
    for name in sorted(world.names()):
        service, workload = world.service(name), world.workload(name)
        is_workload = packed in workload.addresses and workload.network_mode == pb.STANDARD and not workload.network
        is_service = any(each.address == packed and not each.length for each in service.addresses)
        if (is_workload or is_service) and (workload.namespace or service.namespace) == ours:
            found.append(name)
    return found


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_an_address_that_somebody_has_leads_to_no_entry(
    victim: Callable[[], Object], attack: Callable[[], Object], is_first: bool
) -> None:
    attacked, attacker = victim(), attack()
    alone = World(attacked).published()
    world = World(attacker, attacked) if is_first else World(attacked, attacker)
    assert leading(world, VICTIM, "mallory") == []
    assert alone.items() <= world.published().items(), "the victim's own messages are as they were"
    holder = Holder(attacker["kind"], "mallory", attacker["metadata"]["name"])
    is_told = any(each.is_conflict for each in world.addresses.shortfalls(holder))
    is_in_order = attack is ATTACKS["an endpoint"] and victim in SHARED_BY_MANY
    assert is_told is not is_in_order
    world.delete(attacked)
    assert world.published() == World(attack()).published(), "what is free again may be had"


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_address_of_a_pod_that_has_ended_is_free(attack: Callable[[], Object]) -> None:
    ended = a_pod(namespace="bank", phase="Succeeded")
    world = World(ended, attack())
    assert world.published() == World(attack()).published()
    world.put(pod())
    assert leading(world, VICTIM, "mallory") == []


def test_the_loser_is_told_and_no_name_of_another_namespace_is() -> None:
    world = World(pod(), ATTACKS["a virtual address"](), ATTACKS["a workload"](), service())
    assert world.lacks("ServiceEntry", "x", "mallory") == [
        "spec.addresses: 10.0.0.7 is a Pod of namespace bank's, and leads to nothing of this entry"
    ]
    assert world.lacks("WorkloadEntry", "vm-1", "mallory") == [
        "spec.address: 10.0.0.7 is a Pod of namespace bank's: no connection is led to it"
    ]
    assert world.addresses.problems() == [
        "ServiceEntry mallory/x: spec.addresses: 10.0.0.7 is a Pod of namespace bank's, "
        "and leads to nothing of this entry",
        "WorkloadEntry mallory/vm-1: spec.address: 10.0.0.7 is a Pod of namespace bank's: no connection is led to it",
    ]


def test_an_entry_at_a_pod_of_its_own_namespace_is_that_pod() -> None:
    entry = a_service_entry(endpoints=[{"address": VICTIM, "ports": {"tcp-db": 6543}}])
    world = World(a_pod(), entry)
    (ports,) = world.workload("Kubernetes//Pod/shop/web-1").services.values()
    assert [(port.service_port, port.target_port) for port in ports.ports] == [(5432, 6543)]
    assert world.names() == {"Kubernetes//Pod/shop/web-1", "shop/db.example.com"}
    world.delete(a_pod())
    assert f"Kubernetes/networking.istio.io/ServiceEntry/shop/db/{VICTIM}" in world.names()
    world.put(a_pod())
    world.delete(entry)
    assert not world.workload("Kubernetes//Pod/shop/web-1").services


FOREIGN = [
    "web.bank.svc.cluster.local",
    "WEB.bank.svc.CLUSTER.local.",
    "not-there-yet.bank.svc.cluster.local",
    "pod-0.web.bank.svc.cluster.local",
    "web.bank.svc",
    "*.bank.svc.cluster.local",
    "*.svc.cluster.local",
    "*.cluster.local",
    "*.local",
    "*-1.bank.svc.cluster.local",
    "*nk.svc.cluster.local",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_names_of_services_are_of_their_namespace_whether_they_exist_or_not(host: str) -> None:
    world = World(a_service_entry("x", "mallory", host, addresses=["192.0.2.1"], **OWN))
    assert world.names() == set()
    assert world.lacks("ServiceEntry", "x", "mallory") == [
        f"spec.hosts: {host} is a name of Services of another namespace: no connection is led to it"
    ]


def test_a_short_name_is_lost_to_the_service_that_it_means() -> None:
    entry = a_service_entry("x", "mallory", "web.bank", addresses=["192.0.2.1"], **OWN)
    world = World(entry)
    assert "mallory/web.bank" in world.names()
    world.put(service())
    assert world.names() == {VICTIM_SERVICE}
    world.delete(service())
    assert "mallory/web.bank" in world.names()


def test_a_kubernetes_service_has_its_host_before_any_entry_of_its_namespace() -> None:
    entry = a_service_entry("web", "bank", "web.bank.svc.cluster.local", workloadSelector={"labels": {"app": "web"}})
    world = World(entry, pod())
    assert world.service(VICTIM_SERVICE).name == "web"
    assert list(world.workload(VICTIM_POD).services) == [VICTIM_SERVICE]
    world.put(service())
    assert world.service(VICTIM_SERVICE).addresses[0].address == bytes([10, 96, 0, 1])
    assert world.workload(VICTIM_POD).services[VICTIM_SERVICE].ports[0].service_port == 80
    assert world.lacks("ServiceEntry", "web", "bank")[0].startswith(
        "spec.hosts: web.bank.svc.cluster.local is Service web's"
    )
    world.delete(service())
    assert world.workload(VICTIM_POD).services[VICTIM_SERVICE].ports[0].service_port == 5432


def test_of_one_namespace_the_oldest_has_a_host_and_the_next_one_after_it() -> None:
    young = a_service_entry("a", created=NEW, endpoints=[{"address": "192.0.2.1"}])
    old = a_service_entry("b", created=OLD, endpoints=[{"address": "192.0.2.2"}])
    base = "Kubernetes/networking.istio.io/ServiceEntry/shop/"
    for order in itertools.permutations([young, old]):
        world = World(*order)
        assert world.names() == {"shop/db.example.com", base + "b/192.0.2.2"}
        assert world.service("shop/db.example.com").name == "b"
        assert world.lacks("ServiceEntry", "a") == [
            "spec.hosts: db.example.com is ServiceEntry b's: no connection is led to it"
        ]
        world.delete(old)
        assert world.names() == {"shop/db.example.com", base + "a/192.0.2.1"}


def test_of_several_namespaces_each_has_the_host_for_itself_and_the_oldest_for_all_others() -> None:
    young = a_service_entry("a", "aaa", created=NEW)
    old = a_service_entry("b", "zzz", created=OLD)
    for order in itertools.permutations([young, old]):
        world = World(*order)
        assert [world.service(f"{each}/db.example.com").canonical for each in ("aaa", "zzz")] == [False, True]
        world.delete(old)
        assert world.service("aaa/db.example.com").canonical


PRIVATE = {
    "a wildcard": a_service_entry("x", "mallory", "*.example.com", addresses=["192.0.2.1"]),
    "a block": a_service_entry("x", "mallory", "x.example.com", addresses=["192.0.2.0/24"]),
    "all addresses": a_service_entry("x", "mallory", "x.example.com", addresses=["0.0.0.0/0"], resolution="NONE"),
    "a name without a dot": a_service_entry("x", "mallory", "web", addresses=["192.0.2.1"]),
    "by its own wish": a_service_entry("x", "mallory", "x.example.com", addresses=["192.0.2.1"], exportTo=["."]),
}


@pytest.mark.parametrize("entry", PRIVATE.values(), ids=PRIVATE)
def test_what_may_stand_for_much_is_for_clients_of_its_own_namespace(entry: Object) -> None:
    (name,) = World(entry).names()
    found = World(entry).service(name)
    assert (found.visibility, found.canonical) == (pb.Service.NAMESPACE, False)


@pytest.mark.parametrize("case", [name for name in PRIVATE if name != "by its own wish"])
def test_the_root_namespace_may_give_it_to_all(case: str) -> None:
    entry = {**PRIVATE[case], "metadata": {**PRIVATE[case]["metadata"], "namespace": "istio-system"}}
    (name,) = World(entry).names()
    assert World(entry).service(name).visibility == pb.Service.PUBLIC


def test_namespaces_that_cannot_be_told_do_not_see_an_entry() -> None:
    world = World(a_service_entry(exportTo=[".", "team-b"]))
    assert world.service("shop/db.example.com").visibility == pb.Service.NAMESPACE
    told = "spec.exportTo: node proxies cannot be told of namespace team-b alone: it does not see it"
    assert told in world.lacks("ServiceEntry", "db")
    assert World(a_service_entry(exportTo=["team-b"])).names() == set()
    assert World(a_service_entry(exportTo=["~"])).names() == set()


def test_of_two_entries_with_one_virtual_address_the_younger_has_it_at_home_only() -> None:
    old = a_service_entry("old", "bank", "old.example.com", addresses=["198.51.100.1"])
    young = a_service_entry("young", "aaa", "young.example.com", addresses=["198.51.100.1"], created=NEW)
    for order in itertools.permutations([old, young]):
        world = World(*order)
        assert world.service("bank/old.example.com").visibility == pb.Service.PUBLIC
        assert world.service("aaa/young.example.com").visibility == pb.Service.NAMESPACE
        assert world.lacks("ServiceEntry", "young", "aaa") == [
            "spec.addresses: 198.51.100.1 is a ServiceEntry of namespace bank's, which is older: "
            "only clients of namespace aaa reach this entry"
        ]
        world.delete(old)
        assert world.service("aaa/young.example.com").visibility == pb.Service.PUBLIC


def test_of_two_entries_of_one_namespace_with_one_virtual_address_the_younger_has_none() -> None:
    old = a_service_entry("old", "shop", "old.example.com", addresses=["198.51.100.1"])
    young = a_service_entry("young", "shop", "young.example.com", addresses=["198.51.100.1"], created=NEW)
    world = World(young, old)
    assert not world.service("shop/young.example.com").addresses
    assert len(world.service("shop/old.example.com").addresses) == 1


def test_of_two_workloads_at_one_address_it_leads_to_the_older_and_both_are_endpoints() -> None:
    old = a_workload_entry("old", "bank", labels=TUNNEL)
    young = a_workload_entry("young", "mallory", created=NEW, labels=TUNNEL)
    base = "Kubernetes/networking.istio.io/WorkloadEntry/"
    for order in itertools.permutations([old, young]):
        world = World(*order)
        assert world.workload(base + "bank/old").network_mode == pb.STANDARD
        assert world.workload(base + "mallory/young").network_mode == pb.HOST_NETWORK
        assert world.lacks("WorkloadEntry", "young", "mallory") == [
            "spec.address: 192.0.2.9 is a WorkloadEntry of namespace bank's too: connections to the address itself are "
            "not led to it, those to its services are"
        ]
        world.delete(old)
        assert world.workload(base + "mallory/young").network_mode == pb.STANDARD


def test_a_workload_of_another_namespace_does_not_switch_off_a_virtual_address() -> None:
    """A proxy leads an address to the workload that is at it before a service of another namespace."""
    entry = a_service_entry("db", "bank", addresses=["192.0.2.9"])
    older, younger = (a_workload_entry("vm-1", "mallory", created=created) for created in ("2020-01-01T00:00:00Z", NEW))
    assert World(entry, older).workload(WE).network_mode == pb.HOST_NETWORK
    assert World(entry, younger).workload(WE).network_mode == pb.HOST_NETWORK
    later = a_workload_entry("vm-1", "mallory", created=NEW, labels=TUNNEL)
    assert World(later, entry).workload(WE).network_mode == pb.HOST_NETWORK


def test_a_workload_in_the_mesh_keeps_its_address_from_younger_entries() -> None:
    """Else whoever calls it by its address would do so in plain text."""
    entry = a_service_entry("x", "mallory", addresses=["192.0.2.9"], created=NEW)
    world = World(entry, a_workload_entry("vm-1", "bank", labels=TUNNEL))
    assert not world.service("mallory/db.example.com").addresses
    assert world.workload("Kubernetes/networking.istio.io/WorkloadEntry/bank/vm-1").network_mode == pb.STANDARD


def test_a_workload_entry_has_an_identity_of_its_own_namespace() -> None:
    found = World(a_workload_entry("vm-1", "mallory", serviceAccount="web", labels=TUNNEL)).workload(WE)
    assert (found.namespace, found.service_account) == ("mallory", "web")


def test_endpoints_that_others_are_not_to_see_say_nothing_of_their_addresses() -> None:
    endpoints = [{"address": "192.0.2.1"}]
    world = World(a_service_entry("x", "mallory", labels=TUNNEL, exportTo=["."], endpoints=endpoints))
    assert world.workload(SE + "x/192.0.2.1").network_mode == pb.HOST_NETWORK


def test_a_namespace_that_is_not_in_the_mesh_takes_nothing_from_those_that_are() -> None:
    settings = "discoverySelectors:\n- matchLabels: {mesh: here}\n"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system", "uid": "u", "resourceVersion": "1"},
        "data": {"mesh": settings},
    }
    here = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "bank", "uid": "b", "labels": {"mesh": "here"}},
    }
    there = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mallory", "uid": "m"}}
    entry = a_service_entry("db", "bank", addresses=["192.0.2.1"], created=NEW)
    older = a_service_entry("x", "mallory", addresses=["192.0.2.1"])
    world = World(here, there, older, entry)
    assert not world.service("bank/db.example.com").canonical
    world.put(config)
    assert world.names() == {"bank/db.example.com"}
    assert world.service("bank/db.example.com").canonical
    there["metadata"] = {"name": "mallory", "uid": "m", "labels": {"mesh": "here"}}
    world.put(there)
    assert world.service("bank/db.example.com").visibility == pb.Service.NAMESPACE
