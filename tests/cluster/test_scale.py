"""What a few hundred pods cost: how much is computed and sent, which no machine's speed changes.

`python -m bench.scale` is the same with all there is, and measures times.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from agent.lab import namespaces
from agent.wire import ADDRESS_TYPE
from bench.scale import api, controllers, crowds, objects
from bench.scale.api import Api
from bench.scale.crowds import Crowds
from bench.scale.objects import PodName, Size
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import SYSTEM, Controller, a_controller, forget_webhook, roots_of

PROCESSES = 2
COMPUTED = "weft_controller_resources_computed_total"
FEW = 30  # what little the other tests' leftovers may have made the controller compute meanwhile


@pytest.fixture(scope="module")
def size(plane: ControlPlane, mesh: None) -> Iterator[Size]:
    """A cluster of that size, beside whatever else there is."""
    prefix = f"scale-{uuid.uuid4().hex[:8]}"
    made = Size(pods=300, services=60, policies=15, nodes=6, namespaces=3, prefix=prefix)

    async def fill() -> None:
        async with api.opened(plane) as writer:
            await api.fill(writer, made, lambda _: None)

    asyncio.run(fill())
    yield made
    nodes = [objects.node_name(made, number) for number in range(made.nodes)]
    proxies = [pod.name for pod in objects.proxies(made)]
    plane.kubectl("delete", "pod", f"--namespace={SYSTEM}", "--force", "--grace-period=0", *proxies)
    plane.kubectl("delete", "namespace", "--wait=false", *objects.namespaces(made))
    plane.kubectl("delete", "node", *nodes)


@pytest.fixture(scope="module")
def controller(plane: ControlPlane, size: Size) -> Iterator[Controller]:
    with a_controller(plane) as running:
        yield running
    forget_webhook(plane)


@dataclass
class World:
    """Proxies that are not connected yet, and whoever changes pods."""

    size: Size
    api: Api
    proxies: Crowds
    controller: Controller

    def computed(self) -> float:
        """Address resources that the controller has computed so far."""
        return namespaces.inside(self.controller.name, lambda: controllers.metric(COMPUTED, type=ADDRESS_TYPE))

    async def change(self, pods: list[PodName], *, ready: bool) -> None:
        """Returns once every proxy has heard of every pod."""
        await self.proxies.expect([pod.uid for pod in pods])
        await api.together(self.api.report(pod, objects.readiness(ready=ready)) for pod in pods)
        await self.proxies.heard()


@pytest.fixture
async def world(plane: ControlPlane, size: Size, controller: Controller) -> AsyncIterator[World]:
    roots = roots_of(plane).decode()
    target = f"127.0.0.1:{controller.port}"
    async with api.opened(plane) as writer:
        tokens = await api.together(map(writer.token, objects.proxies(size)))
        async with crowds.started(target, roots, tokens, PROCESSES, only=size.prefix) as proxies:
            yield World(size, writer, proxies, controller)


async def test_every_proxy_is_told_everything_once_and_what_changes_alone(world: World) -> None:
    size, proxies = world.size, world.proxies
    await proxies.connect()
    await proxies.complete()
    told = await proxies.totals()
    assert told["resources"] == size.nodes * (size.resources + size.policies)
    assert told["responses"] == size.nodes * 2  # one for each type

    pods = objects.pod_names(size)
    before = world.computed()
    await world.change(pods[:1], ready=False)
    assert world.computed() - before <= FEW < size.pods / 5
    assert (await proxies.totals())["resources"] == size.nodes

    before = world.computed()
    await world.change(pods[1:151], ready=False)
    assert world.computed() - before < 151 * size.pods / size.services + FEW  # a service's pods may come together
    told = await proxies.totals()
    assert told["resources"] == size.nodes * 150
    assert told["responses"] < size.nodes * 150  # changes that come together go together

    await proxies.disconnect()
    await proxies.connect(resume=True)
    await proxies.complete()
    told = await proxies.totals()
    assert (told["resources"], told["removed"]) == (0, 0)
    await world.change(pods[:151], ready=True)


async def test_a_proxy_that_asks_by_name_is_told_of_nothing_else(world: World) -> None:
    size, proxies = world.size, world.proxies
    pods, service = objects.pod_names(size), next(objects.services(size))["metadata"]
    strangers = [f"{size.prefix}-9/nobody.{size.prefix}-9.svc.cluster.local", f"Kubernetes//Pod/{size.prefix}-9/nobody"]
    host = f"{service['namespace']}/{service['name']}.{service['namespace']}.svc.cluster.local"
    names = [host, f"/{pods[1].address}", pods[2].uid, *strangers]
    await proxies.connect(names=[names] * PROCESSES)
    await proxies.complete()
    told = await proxies.totals()
    wanted = 1 + size.pods // size.services + 2 + size.policies  # the service with its pods, two pods, all policies
    assert (told["resources"], told["removed"]) == (size.nodes * wanted, size.nodes * len(strangers))

    await world.api.report(pods[3], objects.readiness(ready=False))
    await world.change([pods[2]], ready=False)
    assert (await proxies.totals())["resources"] == size.nodes
    await api.together(world.api.report(pod, objects.readiness(ready=True)) for pod in pods[2:4])
