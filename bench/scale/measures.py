"""What is measured of a controller with proxies connected, each as rows of the table."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.scale import objects, processes
from bench.scale.api import Api, together
from bench.scale.controllers import Controller
from bench.scale.crowds import Crowds
from bench.scale.objects import PodName, Size

QUIET_SHARE: Final = 0.05  # of a core
SINGLE_CHANGES: Final = 200
BURST_CHANGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, and what is asked of it: at most `bound`, where one is."""

    workload: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def is_met(self) -> bool | None:
        return None if self.bound is None else self.value <= self.bound


@dataclass(slots=True)
class Measures:
    """One controller, its proxies, and the pods whose turn to change has not come yet."""

    api: Api
    size: Size
    controller: Controller
    crowds: Crowds
    pids: dict[str, int]  # of the control plane, by program
    fresh: Iterator[PodName]

    async def cold(self) -> list[Row]:
        """From the controller's start until every proxy has everything; they were waiting for it."""
        pid, started = self.controller.pid, self.controller.started_at
        before = self._used()
        complete = await self.crowds.complete() - started
        spent = {name: after - before[name] for name, after in self._used().items()}
        totals = await self.crowds.totals()
        controller_seconds = processes.cpu_seconds(pid)
        proxies = self.size.nodes
        return [
            Row(f"cold: all of {proxies} proxies have everything", complete, "s", 30),
            Row("cold: the controller has read the cluster", await self.controller.read_at - started, "s"),
            Row("cold: CPU controller", controller_seconds, "s"),
            *(Row(f"cold: CPU {name}", seconds, "s") for name, seconds in spent.items()),
            Row("cold: sent to one proxy", totals["bytes"] / proxies / 2**20, "MiB"),
            Row("cold: responses to one proxy", totals["responses"] / proxies, ""),
            Row("cold: memory of the controller at most", processes.memory(pid).peak, "MiB", 1024),
        ]

    async def single(self) -> list[Row]:
        """One pod's readiness changes at a time: from the request to the API server until each proxy has heard."""
        return await self._singles("change", self.crowds, 250)

    async def burst(self) -> list[Row]:
        """Many pods change as fast as the API server takes it."""
        before, started_at = self._all_used(), time.monotonic()
        count = min(BURST_CHANGES, self.size.pods // 4)
        pods = [next(self.fresh) for _ in range(count)]
        await self.crowds.totals()
        await self.crowds.expect([pod.uid for pod in pods])
        await together(self.api.report(pod, objects.readiness(ready=False)) for pod in pods)
        written = time.monotonic() - started_at
        last = max(at for times in (await self.crowds.heard()).values() for at in times) - started_at
        spent = {name: after - before[name] for name, after in self._all_used().items()}
        totals = await self.crowds.totals()
        return [
            Row(f"burst: {count} changes at every proxy", last, "s", 5),
            Row("burst: the API server took them", written, "s"),
            Row("burst: at every proxy after that", last - written, "s"),
            Row("burst: responses to one proxy", totals["responses"] / self.size.nodes, ""),
            *(Row(f"burst: CPU {name}", seconds, "s") for name, seconds in spent.items()),
        ]

    async def reconnect(self) -> list[Row]:
        """All proxies come back with what they hold, and nothing has changed."""
        await self.crowds.disconnect()
        before = processes.cpu_seconds(self.controller.pid)
        started_at = time.monotonic()
        await self.crowds.connect(resume=True)
        seconds = await self.crowds.complete() - started_at
        totals = await self.crowds.totals()
        spent = processes.cpu_seconds(self.controller.pid) - before
        return [
            Row("reconnect: resources sent again", totals["resources"] + totals["removed"], "", 0),
            Row("reconnect: sent to one proxy", totals["bytes"] / self.size.nodes, "B"),
            Row(f"reconnect: all of {self.size.nodes} proxies", seconds, "s"),
            Row("reconnect: CPU controller", spent, "s"),
        ]

    async def crowded(self) -> list[Row]:
        """Half of the proxies come anew and want everything: what single changes take meanwhile for the others."""
        others, newcomers = self.crowds.halves()
        await newcomers.disconnect()
        await self.quiet()
        await newcomers.connect()
        rows = await self._singles("change while half of the proxies come anew", others, None, count=20)
        await newcomers.complete()
        return rows

    async def on_demand(self, processes_count: int) -> list[Row]:
        """Proxies that ask by name, for 50 pods and 20 services, and for five addresses that nobody has."""
        await self.crowds.disconnect()
        pods = objects.pod_names(self.size)
        hosts = [f"{each['metadata']['namespace']}/{_host(each)}" for each in objects.services(self.size)]
        strangers = [f"/203.0.113.{number}" for number in range(1, 6)]
        names = [
            [*(f"/{pod.address}" for pod in pods[n * 50 : n * 50 + 50]), *hosts[n * 20 : n * 20 + 20], *strangers]
            for n in range(processes_count)
        ]
        before = processes.cpu_seconds(self.controller.pid)
        started_at = time.monotonic()
        await self.crowds.connect(names=names)
        seconds = await self.crowds.complete() - started_at
        totals = await self.crowds.totals()
        spent = processes.cpu_seconds(self.controller.pid) - before
        proxies = self.size.nodes
        return [
            Row(f"on demand: all of {proxies} proxies have what they asked for", seconds, "s"),
            Row("on demand: resources sent to one proxy", totals["resources"] / proxies, ""),
            Row("on demand: names that nobody has, told to one proxy", totals["removed"] / proxies, ""),
            Row("on demand: sent to one proxy", totals["bytes"] / proxies / 1024, "KiB"),
            Row("on demand: CPU controller", spent, "s"),
        ]

    async def quiet(self) -> None:
        """Returns once the controller, and what feeds it, have nothing left to do."""
        pids = [self.controller.pid, *self.pids.values()]
        while True:
            before, started_at = processes.cpu_seconds(*pids), time.monotonic()
            await asyncio.sleep(1)
            # An idle API server and etcd tick on.
            share = (processes.cpu_seconds(*pids) - before) / (time.monotonic() - started_at)
            if share <= QUIET_SHARE * len(pids):
                return

    async def _singles(self, what: str, crowds: Crowds, bound: float | None, count: int = SINGLE_CHANGES) -> list[Row]:
        before = processes.cpu_seconds(self.controller.pid)
        slowest, every = [], []
        for _ in range(count):
            pod = next(self.fresh)
            await crowds.expect([pod.uid])
            started_at = time.monotonic()
            await self.api.report(pod, objects.readiness(ready=False))
            times = [(at - started_at) * 1000 for at in (await crowds.heard())[pod.uid]]
            slowest.append(max(times))
            every += times
        spent = (processes.cpu_seconds(self.controller.pid) - before) / count * 1000
        return [
            Row(f"{what}: at every proxy, p50", statistics.median(slowest), "ms"),
            Row(f"{what}: at every proxy, p99", percentile(slowest, 99), "ms", bound),
            Row(f"{what}: at one proxy, p50", statistics.median(every), "ms"),
            Row(f"{what}: CPU controller", spent, "ms"),
        ]

    def _all_used(self) -> dict[str, float]:
        writer = time.process_time()
        return {"controller": processes.cpu_seconds(self.controller.pid), "writer": writer, **self._used()}

    def _used(self) -> dict[str, float]:
        used = {name: processes.cpu_seconds(pid) for name, pid in self.pids.items()}
        return {**used, "proxies": processes.cpu_seconds(*self.crowds.pids)}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * share / 100) - 1]


def _host(service: objects.Json) -> str:
    metadata = service["metadata"]
    return f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
