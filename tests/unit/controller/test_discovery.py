import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from prometheus_client import CollectorRegistry

from agent.controller.auth import Caller
from agent.controller.discovery import MOST_STREAMS, TURNS, Discovery
from agent.controller.resources import Resource, resource
from agent.controller.xds import Session
from agent.errors import ProtocolError, UnavailableError
from agent.logs import LineLimit
from agent.metrics import ControllerMetrics
from agent.proto import workload_pb2
from agent.wire import ADDRESS_TYPE

CALLER = Caller("istio-system", "weft-proxy", node="node-1")
OTHER = Caller("istio-system", "weft-proxy", node="node-2")
Request = discovery_pb2.DeltaDiscoveryRequest
Response = discovery_pb2.DeltaDiscoveryResponse


class FakeStream:
    """A proxy's end of a stream: what it says, and what it has heard. Its transport can be held up."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Response] = asyncio.Queue()
        self.is_clear = asyncio.Event()
        self.is_clear.set()
        self._said: asyncio.Queue[Request | None] = asyncio.Queue()

    def say(self, request: Request) -> None:
        self._said.put_nowait(request)

    def hang_up(self) -> None:
        self._said.put_nowait(None)

    async def requests(self) -> AsyncIterator[Request]:
        while (request := await self._said.get()) is not None:
            yield request

    async def write(self, response: bytes) -> None:
        await self.is_clear.wait()
        self.heard.put_nowait(Response.FromString(response))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def discovery(registry: CollectorRegistry) -> Discovery:
    return Discovery(ControllerMetrics(registry))


def a_workload(uid: str, node: str = "") -> Resource:
    return resource(ADDRESS_TYPE, uid, workload_pb2.Address(workload=workload_pb2.Workload(uid=uid, node=node)))


async def test_a_proxy_that_came_early_is_answered_once_the_cluster_is_read(discovery: Discovery) -> None:
    stream = FakeStream()
    serving = asyncio.create_task(discovery.serve(CALLER, stream.requests(), stream.write))
    stream.say(Request(type_url=ADDRESS_TYPE))
    discovery.publish(ADDRESS_TYPE, [a_workload("a")], [])
    discovery.complete()
    response = await stream.heard.get()
    assert [each.name for each in response.resources] == ["a"]
    stream.hang_up()
    await serving
    assert discovery.sessions == set()


async def test_a_change_reaches_every_proxy_and_the_slow_one_gets_the_last(
    discovery: Discovery, registry: CollectorRegistry
) -> None:
    discovery.complete()
    quick, slow = FakeStream(), FakeStream()
    serving = [asyncio.create_task(discovery.serve(CALLER, each.requests(), each.write)) for each in (quick, slow)]
    for each in (quick, slow):
        each.say(Request(type_url=ADDRESS_TYPE))
        await each.heard.get()
    slow.is_clear.clear()
    for number in range(1000):
        discovery.publish(ADDRESS_TYPE, [a_workload("a", f"node-{number}")], [])
        await quick.heard.get()
    slow.is_clear.set()
    nodes = []
    while not nodes or nodes[-1] != "node-999":
        (sent,) = (await slow.heard.get()).resources
        nodes.append(workload_pb2.Address.FromString(sent.resource.value).workload.node)
    assert nodes == ["node-0", "node-999"]
    discovery.close()
    await asyncio.gather(*serving)
    assert registry.get_sample_value("pilot_xds") == 0
    assert registry.get_sample_value("pilot_xds_pushes_total", {"type": ADDRESS_TYPE}) == 1004


def anew(discovery: Discovery, number: int, *, is_clear: bool) -> tuple[FakeStream, asyncio.Task[None]]:
    """A proxy that wants everything, and whether its transport takes it."""
    stream = FakeStream()
    if not is_clear:
        stream.is_clear.clear()
    caller = Caller("istio-system", "weft-proxy", node=f"node-{number}")
    stream.say(Request(type_url=ADDRESS_TYPE))
    return stream, asyncio.create_task(discovery.serve(caller, stream.requests(), stream.write))


async def test_proxies_that_take_everything_slowly_hold_up_no_change_for_the_others(
    registry: CollectorRegistry,
) -> None:
    discovery = Discovery(ControllerMetrics(registry), turn_seconds=60)
    discovery.complete()
    quick, serving = anew(discovery, 0, is_clear=True)
    await quick.heard.get()
    slow = [anew(discovery, 1 + number, is_clear=False) for number in range(TURNS + 1)]
    for number in range(3):
        discovery.publish(ADDRESS_TYPE, [a_workload("a", f"node-{number}")], [])
        await asyncio.wait_for(quick.heard.get(), 10)
    slow[0][0].is_clear.set()
    assert len((await asyncio.wait_for(slow[0][0].heard.get(), 10)).resources) <= 1
    slow[TURNS][0].is_clear.set()
    (sent,) = (await asyncio.wait_for(slow[TURNS][0].heard.get(), 10)).resources
    assert workload_pb2.Address.FromString(sent.resource.value).workload.node == "node-2"  # as it is at its turn
    discovery.close()
    for stream, _ in slow:
        stream.is_clear.set()
    await asyncio.gather(serving, *(each for _, each in slow))


async def test_a_proxy_that_takes_everything_slowly_gives_its_turn_up(registry: CollectorRegistry) -> None:
    discovery = Discovery(ControllerMetrics(registry), turn_seconds=0.01)
    discovery.complete()
    slow = [anew(discovery, number, is_clear=False) for number in range(TURNS)]
    late, serving = anew(discovery, TURNS, is_clear=True)
    await asyncio.wait_for(late.heard.get(), 10)
    discovery.close()
    for stream, _ in slow:
        stream.is_clear.set()
    await asyncio.gather(serving, *(each for _, each in slow))


async def test_a_rejection_is_counted_and_logged(
    discovery: Discovery, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    discovery.complete()
    stream = FakeStream()
    serving = asyncio.create_task(discovery.serve(CALLER, stream.requests(), stream.write))
    stream.say(Request(type_url=ADDRESS_TYPE))
    refusal = Request(type_url=ADDRESS_TYPE, response_nonce=(await stream.heard.get()).nonce)
    refusal.error_detail.message = "a: no address"
    stream.say(refusal)
    stream.hang_up()
    await serving
    assert registry.get_sample_value("pilot_total_xds_rejects_total", {"type": ADDRESS_TYPE}) == 1
    assert [(record.levelno, vars(record)["reason"]) for record in caplog.records] == [
        (logging.WARNING, "a: no address")
    ]


async def test_a_proxy_at_fault_is_told_so(discovery: Discovery) -> None:
    stream = FakeStream()
    stream.say(Request(type_url="nonsense"))
    with pytest.raises(ProtocolError, match="not served"):
        await discovery.serve(CALLER, stream.requests(), stream.write)
    assert discovery.sessions == set()


async def test_a_stream_that_is_cut_leaves_nothing_behind(discovery: Discovery) -> None:
    stream = FakeStream()
    discovery.complete()
    serving = asyncio.create_task(discovery.serve(CALLER, stream.requests(), stream.write))
    stream.say(Request(type_url=ADDRESS_TYPE))
    await stream.heard.get()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert discovery.sessions == set()


async def test_too_many_streams_of_one_caller_end_the_oldest_even_one_that_does_not_read(
    discovery: Discovery, registry: CollectorRegistry
) -> None:
    discovery.complete()
    discovery.publish(ADDRESS_TYPE, [a_workload("a")], [])
    streams = [FakeStream() for _ in range(MOST_STREAMS + 2)]
    other = FakeStream()
    bystander = asyncio.create_task(discovery.serve(OTHER, other.requests(), other.write))
    serving = []
    for each in streams:
        each.is_clear.clear()
        each.say(Request(type_url=ADDRESS_TYPE))
        serving.append(asyncio.create_task(discovery.serve(CALLER, each.requests(), each.write)))
    for oldest in serving[:2]:
        with pytest.raises(UnavailableError, match="this was the oldest"):
            await oldest
    assert len(discovery.sessions) == MOST_STREAMS + 1
    assert registry.get_sample_value("weft_controller_streams_superseded_total") == 2
    other.say(Request(type_url=ADDRESS_TYPE))
    assert (await other.heard.get()).type_url == ADDRESS_TYPE
    for each in (*serving[2:], bystander):
        each.cancel()
    await asyncio.gather(*serving, bystander, return_exceptions=True)
    assert discovery.sessions == set()


BRIEF = timedelta(milliseconds=20)


async def test_a_proxy_that_does_not_read_loses_its_stream_and_nobody_else_waits_for_it(
    registry: CollectorRegistry,
) -> None:
    discovery = Discovery(ControllerMetrics(registry), send_timeout=BRIEF)
    discovery.complete()
    discovery.publish(ADDRESS_TYPE, [a_workload("a")], [])
    stalled, other = FakeStream(), FakeStream()
    stalled.is_clear.clear()
    serving = asyncio.create_task(discovery.serve(CALLER, stalled.requests(), stalled.write))
    bystander = asyncio.create_task(discovery.serve(OTHER, other.requests(), other.write))
    for each in (stalled, other):
        each.say(Request(type_url=ADDRESS_TYPE))
    assert (await other.heard.get()).type_url == ADDRESS_TYPE
    with pytest.raises(UnavailableError, match=r"weft-proxy on node-1: it has not read a response for 0\.02 s"):
        await serving
    assert {session.caller for session in discovery.sessions} == {OTHER}
    assert registry.get_sample_value("weft_controller_streams_dropped_total", {"reason": "stalled"}) == 1
    other.hang_up()
    await bystander


async def test_a_proxy_that_reads_and_never_answers_loses_its_stream(registry: CollectorRegistry) -> None:
    discovery = Discovery(ControllerMetrics(registry), answer_timeout=BRIEF)
    discovery.complete()
    stream = FakeStream()
    stream.say(Request(type_url=ADDRESS_TYPE))
    with pytest.raises(UnavailableError, match=r"weft-proxy on node-1: it has answered no response for 0\.02 s"):
        await discovery.serve(CALLER, stream.requests(), stream.write)
    assert registry.get_sample_value("weft_controller_streams_dropped_total", {"reason": "silent"}) == 1


@pytest.mark.parametrize("refuses", [False, True])
def test_whoever_answers_is_not_waited_for_any_more(discovery: Discovery, refuses: bool) -> None:
    discovery.complete()
    session = Session(CALLER, discovery.catalogues)
    session.receive(Request(type_url=ADDRESS_TYPE))
    nonces = []
    for uid in ("a", "b"):
        session.mark(ADDRESS_TYPE, discovery.catalogues[ADDRESS_TYPE].update([a_workload(uid)], []))
        found = session.next_response()
        assert found is not None
        nonces.append(Response.FromString(found[1]).nonce)
    session.awaited_since[ADDRESS_TYPE] = 1.0
    for nonce, waits in zip(nonces, ({ADDRESS_TYPE: 2.0}, {}), strict=True):
        answer = Request(type_url=ADDRESS_TYPE, response_nonce=nonce)
        if refuses:
            answer.error_detail.message = "no"
        session.receive(answer)
        session.answered(answer, 2.0)
        assert session.awaited_since == waits


async def test_a_proxy_that_refuses_all_the_time_fills_no_log(
    discovery: Discovery, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    discovery.complete()
    stream = FakeStream()
    serving = asyncio.create_task(discovery.serve(CALLER, stream.requests(), stream.write))
    stream.say(Request(type_url=ADDRESS_TYPE))
    refusal = Request(type_url=ADDRESS_TYPE, response_nonce=(await stream.heard.get()).nonce)
    refusal.error_detail.message = "x" * 100_000
    for _ in range(300):
        stream.say(refusal)
    stream.hang_up()
    await serving
    assert registry.get_sample_value("pilot_total_xds_rejects_total", {"type": ADDRESS_TYPE}) == 300
    assert LineLimit.BURST <= len(caplog.records) < 2 * LineLimit.BURST
    assert {len(vars(record)["reason"]) for record in caplog.records} == {500}


async def test_a_controller_that_ends_begins_no_stream_any_more(discovery: Discovery) -> None:
    discovery.complete()
    stream = FakeStream()
    discovery.close()
    with pytest.raises(UnavailableError, match="another one serves"):
        await discovery.serve(CALLER, stream.requests(), stream.write)
