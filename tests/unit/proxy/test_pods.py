import asyncio
import os

from agent.errors import ProtocolError, UnavailableError
from agent.handover import AddPod, DeletePod, KeepPod, Request, SnapshotSent
from agent.model import PodUid
from agent.proxy.pods import Pods
from tests.support.proxy import IDENTITY, FakeAgent, FakeCertificates, FakeClock, FakeEngine, running


class World:
    """The hand-over client; each agent is one connection, None a refused one. Ends when there are no more."""

    def __init__(self, *agents: FakeAgent | None) -> None:
        self.engine = FakeEngine()
        self.certificates = FakeCertificates()
        self.clock = FakeClock(most_sleeps=100)
        self.finished = asyncio.Event()
        self.snapshots = 0
        self._agents = list(agents)
        self.pods = Pods(
            self.engine,
            self.connect,
            self.certificates,
            self.complete,
            trust_domain="cluster.local",
            drain_seconds=5,
            sleep=self.clock.sleep,
            factor=lambda: 1.0,
        )

    async def connect(self) -> FakeAgent:
        if not self._agents:
            self.finished.set()
            await asyncio.Event().wait()
        agent = self._agents.pop(0)
        if agent is None:
            raise UnavailableError("nobody listens")
        return agent

    def complete(self) -> None:
        self.snapshots += 1

    async def to_the_end(self) -> None:
        async with running(self.pods.run()):
            await self.finished.wait()


def add(uid: str) -> AddPod:
    return AddPod(PodUid(uid), f"pod-{uid}", "shop", "frontend", os.open("/dev/null", os.O_RDONLY))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def served(*requests: Request | Exception) -> tuple[World, FakeAgent]:
    agent = FakeAgent(*requests)
    world = World(agent)
    await world.to_the_end()
    return world, agent


async def test_a_pod_is_served_with_its_certificate_prepared_and_its_netns_closed() -> None:
    pod = add("1")
    world, agent = await served(pod)
    assert world.engine.served == {"1": ("pod-1", "shop", "frontend")}
    assert (world.certificates.identities, agent.answers) == ([IDENTITY], [""])
    assert not is_open(pod.netns)


async def test_a_pod_that_the_engine_refuses_is_answered_with_the_reason() -> None:
    pod, agent = add("1"), FakeAgent()
    agent = FakeAgent(pod)
    world = World(agent)
    world.engine.refuses = {"1": "port 15008 is taken"}
    await world.to_the_end()
    assert agent.answers == ["port 15008 is taken"]
    assert not is_open(pod.netns)


async def test_the_snapshot_drops_pods_that_it_does_not_name() -> None:
    world, _ = await served(add("1"), add("2"), SnapshotSent())
    assert world.snapshots == 1
    world, agent = await _again(world, KeepPod(PodUid("2")), add("3"), SnapshotSent())
    assert (sorted(world.engine.served), agent.answers) == (["2", "3"], ["", "", ""])
    assert world.engine.removed == [("1", 5)]


async def test_a_pod_that_is_not_served_cannot_be_kept() -> None:
    _, agent = await served(KeepPod(PodUid("9")))
    assert agent.answers == ["pod 9 is not served here, so it cannot be kept; it must be added"]


async def test_a_deleted_pod_is_drained() -> None:
    world, agent = await served(add("1"), SnapshotSent(), DeletePod(PodUid("1")))
    assert (world.engine.removed, agent.answers) == ([("1", 5)], ["", "", ""])


async def test_pods_stay_served_while_the_agent_is_away() -> None:
    agent = FakeAgent(add("1"), SnapshotSent())
    world = World(agent, None, None)
    await world.to_the_end()
    assert agent.is_closed
    assert list(world.engine.served) == ["1"]
    assert world.clock.slept == [0.01, 0.02, 0.04]


async def test_an_agent_that_breaks_the_protocol_is_left_and_sought_again() -> None:
    broken, agent = FakeAgent(ProtocolError("add came with 2 descriptors")), FakeAgent(add("1"))
    world = World(broken, agent)
    await world.to_the_end()
    assert (broken.is_closed, agent.answers) == (True, [""])


async def test_attempts_to_connect_are_a_second_apart_at_most() -> None:
    world = World(*[None] * 9)
    await world.to_the_end()
    assert world.clock.slept[-2:] == [1.0, 1.0]


async def _again(world: World, *requests: Request) -> tuple[World, FakeAgent]:
    """The agent has started again; the engine is the same."""
    agent = FakeAgent(*requests)
    following = World(agent)
    following.engine.served = world.engine.served
    following.pods = Pods(
        following.engine,
        following.connect,
        following.certificates,
        following.complete,
        trust_domain="cluster.local",
        drain_seconds=5,
        sleep=following.clock.sleep,
    )
    await following.to_the_end()
    return following, agent
