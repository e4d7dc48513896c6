"""Rules of service addresses and hosts files."""

from agent.api.kubernetes import Pod, Service, parse
from agent.kube import Object
from agent.lab.services import Backend, backends, hosts_file, resolv_conf, ruleset


def a_pod(name: str = "web-1", number: int = 7, *, ready: bool = True, **metadata: object) -> Pod:
    found = parse(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}, **metadata},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": f"10.244.1.{number}"}, {"ip": f"fd44::{number}"}],
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        },
        "test",
    )
    assert isinstance(found, Pod)
    return found


def a_service(**spec: object) -> Service:
    given: Object = {
        "clusterIP": "10.96.0.16",
        "clusterIPs": ["10.96.0.16", "fd96::10"],
        "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": "http"}],
        **spec,
    }
    metadata = {"name": "web", "namespace": "shop"}
    found = parse({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": given}, "test")
    assert isinstance(found, Service)
    return found


def test_each_address_has_the_endpoints_of_its_family_on_the_named_port() -> None:
    assert backends([a_service()], [a_pod()]) == [
        Backend("10.96.0.16", "tcp", 80, (("10.244.1.7", 8080),)),
        Backend("fd96::10", "tcp", 80, (("fd44::7", 8080),)),
    ]


def test_pods_that_are_not_ready_or_are_ending_get_nothing() -> None:
    pods = [a_pod(ready=False), a_pod("web-2", 8, deletionTimestamp="2026-01-01T00:00:00Z")]
    assert [backend.endpoints for backend in backends([a_service()], pods)] == [(), ()]


def test_a_service_may_publish_pods_that_are_not_ready() -> None:
    found = backends([a_service(publishNotReadyAddresses=True)], [a_pod(ready=False)])
    assert [len(backend.endpoints) for backend in found] == [1, 1]


def test_the_rules_choose_among_endpoints_at_random() -> None:
    rules = ruleset(backends([a_service()], [a_pod(), a_pod("web-2", 8)]))
    assert (
        "add rule inet weft-lab services ip daddr 10.96.0.16 tcp dport 80 "
        "dnat ip to numgen random mod 2 map { 0 : 10.244.1.7 . 8080, 1 : 10.244.1.8 . 8080 }"
    ) in rules.splitlines()


def test_a_pod_that_reaches_itself_is_masqueraded_and_nobody_else() -> None:
    rules = ruleset(backends([a_service()], [a_pod()])).splitlines()
    assert [rule for rule in rules if "masquerade" in rule] == [
        "add rule inet weft-lab itself ip saddr . ip daddr { 10.244.1.7 . 10.244.1.7 } masquerade",
        "add rule inet weft-lab itself ip6 saddr . ip6 daddr { fd44::7 . fd44::7 } masquerade",
    ]


def test_a_service_without_endpoints_has_no_rule_and_so_is_rejected() -> None:
    assert "dnat" not in ruleset(backends([a_service()], []))


def test_hosts_hold_every_name_of_a_service_and_the_short_one_in_its_namespace() -> None:
    assert hosts_file(a_pod(), [a_service()], []).splitlines()[2:] == [
        "10.244.1.7 web-1",
        "fd44::7 web-1",
        "10.96.0.16 web web.shop web.shop.svc web.shop.svc.cluster.local",
        "fd96::10 web web.shop web.shop.svc web.shop.svc.cluster.local",
    ]


def test_a_headless_service_s_name_gives_its_pods() -> None:
    lines = hosts_file(a_pod(), [a_service(clusterIP="None", clusterIPs=["None"])], [a_pod()]).splitlines()
    assert [line.split()[0] for line in lines[4:]] == ["10.244.1.7", "fd44::7"]


def test_the_search_list_begins_with_the_pod_s_namespace() -> None:
    assert resolv_conf("shop", "10.96.0.10").splitlines() == [
        "search shop.svc.cluster.local svc.cluster.local cluster.local",
        "nameserver 10.96.0.10",
        "options ndots:5",
    ]
