"""Addresses that hosts are given: to whom, which, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import kube
from agent.api.kubernetes import parse
from agent.api.networking.service_entry import ServiceEntry
from agent.controller.entries.assignment import assignment
from agent.controller.entries.statuses import EntryStatuses
from agent.kube import SERVICE_ENTRY, WORKLOAD_ENTRY, StateDirectory
from tests.support.entry_world import NEW, World, a_service_entry, a_workload_entry
from tests.support.objects import Object, a_service

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STAMP = "2026-01-02T00:00:00Z"
MINE = [
    {"value": "240.240.138.98", "host": "db.example.com"},
    {"value": "2001:2:0:e0f6:e965:a05:7fcd:295a", "host": "db.example.com"},
]
NO_DNS = (
    "spec.addresses: missing, and node proxies answer no DNS: only clients that something else tells of "
    "status.addresses reach it"
)


def given_to(entry: Object, *taken: str) -> list[dict[str, str]]:
    parsed = parse(entry, "f")
    assert isinstance(parsed, ServiceEntry)
    return assignment(parsed, lambda address: address not in taken, lambda address: address in taken)


def hosts_of(entry: Object) -> list[str]:
    return [each["host"] for each in given_to(entry)]


def test_each_host_has_an_address_of_each_family_that_follows_from_its_name() -> None:
    assert given_to(a_service_entry()) == MINE


def test_an_address_that_is_taken_is_passed_over() -> None:
    assert [each["value"] for each in given_to(a_service_entry(), MINE[0]["value"])] == [
        "240.240.138.99",
        MINE[1]["value"],
    ]


@pytest.mark.parametrize(
    ("entry", "hosts"),
    [
        (a_service_entry(resolution="NONE"), []),
        (a_service_entry(addresses=["192.0.2.1"]), []),
        (a_service_entry(labels={"networking.istio.io/enable-autoallocate-ip": "False"}), []),
        (a_service_entry(exportTo=["~"]), []),
        (a_service_entry("db", "shop", "*.example.com"), []),
        (a_service_entry("db", "shop", "*.example.com", "a.example.com"), ["a.example.com"] * 2),
        (a_service_entry("db", "shop", "a.example.com", "A.example.com"), ["a.example.com"] * 2),
        (a_service_entry(resolution="DNS"), ["db.example.com"] * 2),
    ],
)
def test_who_is_given_addresses(entry: Object, hosts: list[str]) -> None:
    entry["spec"]["ports"][0]["protocol"] = "TLS"
    assert hosts_of(entry) == hosts


def test_a_wildcard_is_given_one_where_names_are_looked_up_one_by_one() -> None:
    ports = [{"number": 443, "name": "tls", "protocol": "TLS"}]
    entry = a_service_entry("db", "shop", "*.example.com", resolution="DYNAMIC_DNS", ports=ports)
    assert hosts_of(entry) == ["*.example.com"] * 2


def test_what_a_host_has_it_keeps() -> None:
    kept = [{"value": "240.240.0.9", "host": "db.example.com"}, {"value": "2001:2::9", "host": "db.example.com"}]
    assert given_to(a_service_entry(status={"addresses": kept})) == kept


@pytest.mark.parametrize("forged", ["10.96.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.96.0.1", "nonsense"])
def test_an_address_that_is_not_ours_to_give_counts_for_nothing_in_a_status(forged: str) -> None:
    entry = a_service_entry(status={"addresses": [{"value": forged, "host": "db.example.com"}]})
    assert given_to(entry) == MINE
    world = World(entry, a_service(namespace="bank"))
    assert list(world.service("shop/db.example.com").addresses) == []


def test_an_address_in_a_status_leads_to_its_host_and_no_other() -> None:
    entry = a_service_entry("db", "shop", "a.example.com", "b.example.com", status={"addresses": MINE})
    entry["spec"]["ports"][0]["protocol"] = "TLS"
    entry["status"] = {"addresses": [{**each, "host": "b.example.com"} for each in MINE]}
    world = World(entry)
    assert len(world.service("shop/a.example.com").addresses) == 0
    assert len(world.service("shop/b.example.com").addresses) == 2
    assert world.catalogue.lookup(f"/{MINE[0]['value']}") == {"shop/b.example.com"}


def test_nobody_takes_an_address_that_was_given_by_writing_it_down() -> None:
    given = a_service_entry(status={"addresses": MINE}, created=NEW)
    thief = a_service_entry("x", "mallory", "x.example.com", addresses=[MINE[0]["value"]])
    for order in itertools.permutations([given, thief]):
        world = World(*order)
        assert len(world.service("shop/db.example.com").addresses) == 2
        assert list(world.service("mallory/x.example.com").addresses) == []


def test_of_two_that_were_given_one_address_the_older_keeps_it() -> None:
    young = a_service_entry("young", "bank", status={"addresses": MINE}, created=NEW)
    world = World(young, a_service_entry(status={"addresses": MINE}))
    assert len(world.service("shop/db.example.com").addresses) == 2
    assert list(world.service("bank/db.example.com").addresses) == []
    assert world.lacks("ServiceEntry", "young", "bank")[0] == (
        "status.addresses: 240.240.138.98 is a ServiceEntry of namespace shop's, and has to be given anew"
    )


class Controller:
    """One that reads a state directory and writes statuses to it."""

    def __init__(self, cluster: StateDirectory) -> None:
        self.cluster = cluster
        self.world = World()
        self.world.state.is_synced = False  # it has read nothing yet
        self.writes = 0
        self._statuses = EntryStatuses(self, self.world.state, self.world.addresses.shortfalls, lambda: NOW)  # type: ignore[arg-type]

    async def patch(self, *args: Any, **kwargs: Any) -> Object:
        self.writes += 1
        return await self.cluster.patch(*args, **kwargs)

    async def follow(self) -> None:
        kinds = (SERVICE_ENTRY, WORKLOAD_ENTRY, kube.SERVICE)
        async with contextlib.aclosing(self.cluster.watch(kinds)) as changes:
            async for change in changes:
                touched = self.world.state.apply(change)
                self.world.addresses.update(touched)
                self._statuses.update(touched.entries)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._statuses.run()), asyncio.create_task(self.follow())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def status_of(
    cluster: StateDirectory, kind: kube.Kind, name: str, namespace: str = "shop", conditions: int = 1
) -> Object:
    """Once it says how the entry fares."""
    async with asyncio.timeout(10), contextlib.aclosing(cluster.watch([kind])) as changes:
        async for change in changes:
            found = change.object
            if found is not None and (found["metadata"]["namespace"], found["metadata"]["name"]) == (namespace, name):
                status: Object = found.get("status", {})
                if len(status.get("conditions", ())) == conditions:
                    return status
    raise AssertionError("the watch ended")


@pytest.fixture
def cluster(tmp_path: Path) -> StateDirectory:
    return StateDirectory.create_at(tmp_path)


async def test_a_new_entry_is_given_addresses_and_published_from_its_status(cluster: StateDirectory) -> None:
    controller = Controller(cluster)
    async with controller.running():
        await cluster.create(SERVICE_ENTRY, a_service_entry())
        status = await status_of(cluster, SERVICE_ENTRY, "db")
    assert status["addresses"] == MINE
    assert status["conditions"] == [
        {
            "type": "ZtunnelAccepted",
            "status": "False",
            "reason": "UnsupportedValue",
            "message": NO_DNS,
            "lastTransitionTime": STAMP,
        }
    ]
    assert len(controller.world.service("shop/db.example.com").addresses) == 2


async def test_what_is_written_is_written_once_and_stays_after_a_restart(cluster: StateDirectory) -> None:
    first, second = Controller(cluster), Controller(cluster)
    await cluster.create(SERVICE_ENTRY, a_service_entry())
    async with first.running():
        before = await status_of(cluster, SERVICE_ENTRY, "db")
    async with second.running():
        await cluster.create(SERVICE_ENTRY, a_service_entry("later", "shop", "later.example.com"))
        await status_of(cluster, SERVICE_ENTRY, "later")  # written in turn: so the first has been looked at again
        assert await status_of(cluster, SERVICE_ENTRY, "db") == before
    assert (first.writes, second.writes) == (2, 2)


async def test_addresses_of_which_there_is_no_more_need_are_taken_back(cluster: StateDirectory) -> None:
    async with Controller(cluster).running():
        stored = await cluster.create(SERVICE_ENTRY, a_service_entry())
        await status_of(cluster, SERVICE_ENTRY, "db")
        spec = {**stored["spec"], "addresses": ["192.0.2.1"]}
        await cluster.patch(SERVICE_ENTRY, "shop", "db", {"spec": spec, "status": {"conditions": None}})
        status = await status_of(cluster, SERVICE_ENTRY, "db")
    assert status["addresses"] == []
    assert status["conditions"][0]["status"] == "True"


async def test_two_that_have_one_address_are_put_right(cluster: StateDirectory) -> None:
    for name, namespace in (("old", "bank"), ("young", "shop")):
        entry = a_service_entry(name, namespace)
        stored = await cluster.create(SERVICE_ENTRY, entry)
        when = "2026-01-01T00:00:00Z" if name == "old" else NEW
        patch = {"metadata": {"creationTimestamp": when}, "status": {"addresses": MINE}}
        await cluster.patch(SERVICE_ENTRY, namespace, name, patch, uid=stored["metadata"]["uid"])
    async with Controller(cluster).running():
        young = await status_of(cluster, SERVICE_ENTRY, "young")
        old = await status_of(cluster, SERVICE_ENTRY, "old", "bank")
    assert old["addresses"] == MINE
    assert {each["value"] for each in young["addresses"]}.isdisjoint(each["value"] for each in MINE)
    assert len(young["addresses"]) == 2


async def test_conditions_of_others_stay_and_every_loser_is_told(cluster: StateDirectory) -> None:
    other = {"type": "Healthy", "status": "True"}
    await cluster.create(kube.SERVICE, a_service(namespace="bank", ips=("192.0.2.9",)))
    await cluster.create(WORKLOAD_ENTRY, {**a_workload_entry(), "status": {"conditions": [other]}})
    async with Controller(cluster).running():
        status = await status_of(cluster, WORKLOAD_ENTRY, "vm-1", conditions=2)
    kept, mine = status["conditions"]
    assert (kept, mine["status"], mine["reason"]) == (other, "False", "Conflict")
    assert mine["message"] == "spec.address: 192.0.2.9 is a Service of namespace bank's: no connection is led to it"


async def test_nothing_is_given_before_all_that_exists_is_known(cluster: StateDirectory) -> None:
    controller = Controller(cluster)
    controller.world.put(a_service_entry())
    writing = asyncio.create_task(controller._statuses.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert controller.writes == 0
    writing.cancel()
    await asyncio.wait([writing])
