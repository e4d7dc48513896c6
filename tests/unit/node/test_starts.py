from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from agent.errors import ForbiddenError, NotFoundError
from agent.model import NodeName, Pod, PodUid
from agent.node.cni_requests import Answer, Command, Request, State
from agent.node.enrolment import Standing
from agent.node.inventory import Inventory
from agent.node.selection import DEFAULT, Rules
from agent.node.starts import Starts
from agent.wire import DATAPLANE_MODE_LABEL

HERE = NodeName("node-1")
AMBIENT = {DATAPLANE_MODE_LABEL: "ambient"}
WEB = Pod(PodUid("u-1"), "web-1", "shop", "web", HERE)
ADD = Request(Command.ADD, "web-1", "shop", "u-1", ("10.0.0.7",), 5.0)


class FakeWatch:
    def __init__(self, *pods: Pod, namespaces: dict[str, dict[str, str]] | None = None) -> None:
        self.inventory = Inventory({pod.uid: pod for pod in pods}, dict(namespaces or {"shop": AMBIENT}))
        self.changed = asyncio.Event()
        self.rules = DEFAULT

    def add(self, pod: Pod) -> None:
        self.inventory.pods[pod.uid] = pod
        self.changed.set()
        self.changed = asyncio.Event()


class FakeEnrolments:
    def __init__(self, standing: Standing | None = None, *, is_stuck: bool = False) -> None:
        self.standings = {WEB.uid: standing} if standing else {}
        self.held: list[tuple[PodUid, int, tuple[str, ...]]] = []
        self.is_stuck = is_stuck
        self.has_gone = False

    async def hold(self, uid: PodUid, fd: int, addresses: tuple[str, ...]) -> None:
        self.held.append((uid, fd, addresses))
        if self.has_gone:
            raise NotFoundError("the pod is not to be enrolled")
        if self.is_stuck:
            await asyncio.Event().wait()


async def fine(_: int, __: Sequence[str]) -> None:
    pass


async def somebody_elses(_: int, __: Sequence[str]) -> None:
    raise ForbiddenError("the pod's network namespace has 10.0.0.8, not 10.0.0.7")


async def test_a_pod_of_the_mesh_starts_once_it_is_captured() -> None:
    enrolments = FakeEnrolments()
    answer = await Starts(HERE, FakeWatch(WEB), enrolments, fine).answer(ADD, 9)
    assert answer == Answer(State.CAPTURED)
    assert enrolments.held == [("u-1", 9, ("10.0.0.7",))]


async def test_a_pod_outside_the_mesh_starts_at_once() -> None:
    for pod, labels in (
        (WEB, {}),
        (replace(WEB, labels={DATAPLANE_MODE_LABEL: "none"}), AMBIENT),
        (replace(WEB, host_network=True), AMBIENT),
    ):
        enrolments = FakeEnrolments()
        answer = await Starts(HERE, FakeWatch(pod, namespaces={"shop": labels}), enrolments, fine).answer(ADD, 9)
        assert (answer, enrolments.held) == (Answer(State.OUTSIDE), [])


async def test_a_pod_that_another_proxy_serves_starts_at_once() -> None:
    answer = await Starts(
        HERE, FakeWatch(replace(WEB, sidecar="container linkerd-proxy")), FakeEnrolments(), fine
    ).answer(ADD, 9)
    assert answer == Answer(State.OUTSIDE)


async def test_a_pod_that_may_belong_to_the_mesh_waits_while_its_settings_cannot_be_read() -> None:
    watch = FakeWatch(WEB)
    watch.rules = Rules(obstacle="the mesh's settings cannot be read")
    answer = await Starts(HERE, watch, FakeEnrolments(), fine).answer(ADD, 9)
    assert answer == Answer(State.WAITING, "the mesh's settings cannot be read")


async def test_a_pod_that_is_not_known_yet_is_waited_for() -> None:
    watch = FakeWatch()
    asked = asyncio.ensure_future(Starts(HERE, watch, FakeEnrolments(), fine).answer(ADD, 9))
    await asyncio.sleep(0)
    watch.add(replace(WEB, uid=PodUid("u-0"), name="other"))
    await asyncio.sleep(0)
    assert not asked.done()
    watch.add(WEB)
    assert await asked == Answer(State.CAPTURED)


async def test_a_pod_that_stays_unknown_waits_and_the_reason_names_it() -> None:
    brief = replace(ADD, wait_seconds=0.01)
    answer = await Starts(HERE, FakeWatch(), FakeEnrolments(), fine).answer(brief, 9)
    assert answer.state is State.WAITING
    assert "pod shop/web-1 (u-1)" in answer.reason


async def test_a_pod_whose_namespace_is_not_known_waits_for_its_labels() -> None:
    brief = replace(ADD, wait_seconds=0.01)
    answer = await Starts(HERE, FakeWatch(WEB, namespaces={"other": AMBIENT}), FakeEnrolments(), fine).answer(brief, 9)
    assert answer.state is State.WAITING
    assert "namespace shop" in answer.reason


async def test_a_pod_that_cannot_be_captured_waits_and_the_reason_says_why() -> None:
    brief = replace(ADD, wait_seconds=0.01)
    enrolments = FakeEnrolments(Standing(False, "no node proxy is connected"), is_stuck=True)
    answer = await Starts(HERE, FakeWatch(WEB), enrolments, fine).answer(brief, 9)
    assert answer == Answer(State.WAITING, "pod shop/web-1 is not captured yet: no node proxy is connected")


async def test_a_namespace_that_is_not_the_pods_is_refused() -> None:
    enrolments = FakeEnrolments()
    answer = await Starts(HERE, FakeWatch(WEB), enrolments, somebody_elses).answer(ADD, 9)
    assert (answer.state, enrolments.held) == (State.REFUSED, [])


async def test_a_pod_of_another_node_is_refused() -> None:
    answer = await Starts(NodeName("node-2"), FakeWatch(WEB), FakeEnrolments(), fine).answer(ADD, 9)
    assert answer.state is State.REFUSED


async def test_a_pod_that_leaves_the_mesh_meanwhile_is_tried_again() -> None:
    enrolments = FakeEnrolments()
    enrolments.has_gone = True
    answer = await Starts(HERE, FakeWatch(WEB), enrolments, fine).answer(ADD, 9)
    assert answer == Answer(State.WAITING, "the pod is not to be enrolled")


async def test_a_check_tells_how_the_pod_stands_and_holds_nothing() -> None:
    check = replace(ADD, command=Command.CHECK)
    for standing, expected in (
        (None, Answer(State.OUTSIDE)),
        (Standing(True), Answer(State.CAPTURED)),
        (Standing(False), Answer(State.CAPTURED)),
        (Standing(False, "15001 is taken"), Answer(State.WAITING, "15001 is taken")),
    ):
        enrolments = FakeEnrolments(standing)
        assert await Starts(HERE, FakeWatch(WEB), enrolments, fine).answer(check, 9) == expected
        assert enrolments.held == []
