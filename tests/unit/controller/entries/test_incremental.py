"""A change computes anew only what depends on it, however many entries there are; and order never matters."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.entry_world import NEW, OLD, TUNNEL, World, a_service_entry, a_workload_entry
from tests.support.objects import Object, a_pod, a_service

MANY = 2000


def selecting(number: int) -> Object:
    selector = {"labels": {"app": f"app-{number}"}}
    return a_service_entry(f"e-{number}", "shop", f"e-{number}.example.com", workloadSelector=selector)


def test_a_pod_among_two_thousand_selectors_costs_what_it_costs_among_none() -> None:
    world = World(*(selecting(number) for number in range(MANY)))
    pod = a_pod(labels={"app": "app-7", "version": "v1"})
    world.put(pod)
    assert (world.touched, world.computed) == ({"Kubernetes//Pod/shop/web-1"}, 1)
    assert list(world.workload("Kubernetes//Pod/shop/web-1").services) == ["shop/e-7.example.com"]
    bare = World()
    seconds = {each: _changes(each) for each in (world, bare)}
    assert seconds[world] < 20 * seconds[bare]  # gone through one by one, it would be hundreds of times


def _changes(world: World) -> float:
    began = time.process_time()
    for number in range(100):
        world.put(a_pod(labels={"app": "app-7", "version": f"v{number}"}))
    return time.process_time() - began


def test_an_entry_among_two_thousand_touches_its_own_endpoints_only() -> None:
    pods = (a_pod(f"web-{number}", ip=f"10.0.1.{number}", labels={"app": f"app-{number}"}) for number in range(200))
    world = World(*pods, *(selecting(number) for number in range(200)))
    changed = selecting(7)
    changed["spec"]["ports"][0]["number"] = 1
    world.put(changed)
    assert world.touched == {"shop/e-7.example.com", "Kubernetes//Pod/shop/web-7"}
    assert world.computed == 2


def test_entries_of_many_namespaces_for_one_host_and_address_do_not_wait_for_one_another() -> None:
    entries = [
        a_service_entry("db", f"team-{number}", addresses=["198.51.100.1"], endpoints=[{"address": "192.0.2.1"}])
        for number in range(300)
    ]
    world = World(*entries)
    assert world.computed < 3 * len(entries)
    last = entries[-1]
    last["spec"]["ports"][0]["number"] = 1
    world.put(last)
    assert world.computed == 2
    world.delete(entries[0])  # the oldest: another takes its place for all, and the rest wait for that one instead
    assert world.service("team-1/db.example.com").canonical
    assert world.lacks("ServiceEntry", "db", "team-299")[0].startswith(
        "spec.addresses: 198.51.100.1 is a ServiceEntry of"
    )


def test_what_is_the_same_again_is_nothing() -> None:
    given_ = a_service_entry(endpoints=[{"address": "192.0.2.1"}])
    world = World(given_, a_workload_entry())
    world.put({**given_, "status": {"conditions": [{"type": "x", "status": "True"}]}}, a_workload_entry())
    assert (world.touched, world.computed) == (set(), 0)


ADDRESSES = ("10.0.0.7", "10.0.0.8")
HOSTS = ("a.example.com", "web.shop.svc.cluster.local", "web.shop")
OBJECTS: tuple[Object, ...] = (
    *(
        a_pod(name, namespace, ip=ip)
        for name, namespace, ip in (("p", "shop", ADDRESSES[0]), ("q", "bank", ADDRESSES[1]))
    ),
    a_pod("r", "shop", ip=ADDRESSES[1], phase="Succeeded"),
    a_service("web", "shop", ips=(ADDRESSES[1],)),
    a_service("db", "bank", ips=("10.96.0.9",), selector={"app": "web"}),
    *(
        a_service_entry(
            f"{namespace}-{number}",
            namespace,
            host,
            created=created,
            labels=labels,
            addresses=["10.0.0.8"],
            **endpoints,
        )
        for number, (host, created, labels, endpoints) in enumerate(
            (
                (HOSTS[0], OLD, {}, {"endpoints": [{"address": ADDRESSES[0]}]}),
                (HOSTS[0], NEW, TUNNEL, {"endpoints": [{"address": ADDRESSES[1]}]}),
                (HOSTS[1], OLD, {}, {"workloadSelector": {"labels": {"app": "web"}}}),
                (HOSTS[2], NEW, {}, {"exportTo": ["."]}),
            )
        )
        for namespace in ("shop", "bank")
    ),
    *(
        a_workload_entry(f"vm-{number}", namespace, address=address, labels={"app": "web", **labels}, created=created)
        for number, (address, labels, created) in enumerate(((ADDRESSES[0], {}, OLD), (ADDRESSES[1], TUNNEL, NEW)))
        for namespace in ("shop", "bank")
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(OBJECTS) - 1), st.booleans()), max_size=24), st.randoms())
def test_what_is_published_follows_from_what_is_there_and_not_from_how_it_came(
    steps: list[tuple[int, bool]], shuffled: random.Random
) -> None:
    world = World()
    there: set[int] = set()
    for number, is_put in steps:
        (world.put if is_put else world.delete)(OBJECTS[number])
        (there.add if is_put else there.discard)(number)
    left = sorted(there)
    shuffled.shuffle(left)
    afresh = World(*(OBJECTS[number] for number in left))
    assert world.published() == afresh.published()
    assert sorted(world.addresses.problems()) == sorted(afresh.addresses.problems())
