from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from agent.errors import UnavailableError
from agent.metrics import ProxyMetrics
from agent.proxy.discovery import Discovery
from agent.proxy.ledger import Node, Resource, Update
from agent.proxy.saved import SavedState
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.proxy import FakeClock, FakeController, FakeEngine, a_response, running, until

NODE = Node("weft-proxy-1", "istio-system", "10.0.0.5", "node-1", "Kubernetes", "1.2.3")


class World:
    """A discovery client with everything around it fake."""

    def __init__(
        self,
        controller: FakeController,
        *,
        sleeps: int = 100,
        saved: SavedState | None = None,
        engine: FakeEngine | None = None,
    ) -> None:
        self.engine = engine or FakeEngine()
        self.controller = controller
        self.clock = FakeClock(sleeps)
        self.registry = CollectorRegistry()
        self.completed = 0
        self.discovery = Discovery(
            self.engine,
            controller.connect,
            NODE,
            ProxyMetrics(self.registry, "1"),
            self.complete,
            saved=saved,
            sleep=self.clock.sleep,
            factor=lambda: 1.0,
        )

    def complete(self) -> None:
        self.completed += 1

    async def to_the_end(self) -> None:
        async with running(self.discovery.run()):
            await self.controller.finished.wait()


async def test_every_response_reaches_the_engine_and_is_acknowledged() -> None:
    world = World(
        FakeController(
            [
                a_response(AUTHORIZATION_TYPE, nonce="1"),
                a_response(ADDRESS_TYPE, ("a", "1", b"raw"), removed=["b"], nonce="2"),
            ]
        )
    )
    await world.to_the_end()
    assert world.engine.applied == [(AUTHORIZATION_TYPE, [], []), (ADDRESS_TYPE, [("a", b"raw")], ["b"])]
    sent = world.controller.sent[0]
    assert [(request.type_url, request.response_nonce) for request in sent] == [
        (AUTHORIZATION_TYPE, ""),
        (ADDRESS_TYPE, ""),
        (AUTHORIZATION_TYPE, "1"),
        (ADDRESS_TYPE, "2"),
    ]


async def test_is_complete_once_both_types_have_answered() -> None:
    both = [a_response(AUTHORIZATION_TYPE), a_response(ADDRESS_TYPE)]
    world = World(FakeController([both[0]], both, both))
    await world.to_the_end()
    assert world.completed == 1


async def test_a_reconnect_tells_what_is_in_force() -> None:
    first = [a_response(AUTHORIZATION_TYPE), a_response(ADDRESS_TYPE, ("a", "1", b"x"), ("bad", "1", b"y"))]
    world = World(FakeController(first, []))
    world.engine.rejects = {"bad": "no address"}
    await world.to_the_end()
    assert world.controller.sent[0][-1].error_detail.message == "bad: no address"
    assert [dict(request.initial_resource_versions) for request in world.controller.sent[1]] == [{}, {"a": "1"}]


async def test_waits_longer_after_each_failure_and_begins_anew_after_an_answer() -> None:
    away = UnavailableError("away")
    world = World(FakeController([away], [away], [away], [a_response(ADDRESS_TYPE), away], [away]))
    await world.to_the_end()
    assert world.clock.slept == [0.01, 0.02, 0.04, 0.01, 0.02]


async def test_ends_of_streams_are_counted_by_reason() -> None:
    away = UnavailableError("away")
    world = World(FakeController([away], [a_response(ADDRESS_TYPE), away], []))
    await world.to_the_end()
    name = "istio_xds_connection_terminations_total"
    reasons = ("ConnectionError", "Error", "Complete")
    assert [world.registry.get_sample_value(name, {"reason": reason}) for reason in reasons] == [1, 1, 1]


async def test_a_type_that_nobody_asked_for_is_refused() -> None:
    world = World(FakeController([a_response("type.googleapis.com/other", nonce="9")]))
    await world.to_the_end()
    assert world.engine.applied == []
    assert world.controller.sent[0][-1].error_detail.message == "type.googleapis.com/other: was not asked for"


async def test_the_saved_state_is_in_force_before_the_controller_answers(tmp_path: Path) -> None:
    saved = SavedState(tmp_path)
    saved.save({AUTHORIZATION_TYPE: [], ADDRESS_TYPE: [Resource("a", "1", b"raw")]})
    world = World(FakeController([]), saved=saved)
    await world.to_the_end()
    assert world.engine.applied == [(AUTHORIZATION_TYPE, [], []), (ADDRESS_TYPE, [("a", b"raw")], [])]
    assert world.completed == 1
    assert dict(world.controller.sent[0][1].initial_resource_versions) == {"a": "1"}


async def test_what_comes_is_saved_once_there_is_all_of_it(tmp_path: Path) -> None:
    saved = SavedState(tmp_path / "made")
    policies, addresses = a_response(AUTHORIZATION_TYPE), a_response(ADDRESS_TYPE, ("a", "1", b"raw"))
    half = World(FakeController([addresses]), sleeps=3, saved=saved)
    await half.to_the_end()
    assert saved.load() == []
    world = World(FakeController([policies, addresses]), sleeps=3, saved=saved)
    async with running(world.discovery.run()):
        await world.controller.finished.wait()
        await until(lambda: bool(saved.load()))
    assert saved.load() == [Update(AUTHORIZATION_TYPE, ""), Update(ADDRESS_TYPE, "", (Resource("a", "1", b"raw"),))]


class Witness(FakeEngine):
    """Looks whether discovery counts as connected whenever it is given something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []
        self.discovery: Discovery | None = None

    def apply(
        self, type_url: str, changed: Sequence[tuple[str, bytes]], removed: Sequence[str]
    ) -> list[tuple[str, str]]:
        assert self.discovery is not None
        self.seen.append(self.discovery.is_connected)
        return super().apply(type_url, changed, removed)


async def test_it_is_connected_while_a_stream_is_open_that_has_been_answered() -> None:
    engine = Witness()
    controller = FakeController([a_response(AUTHORIZATION_TYPE, ("shop/allow", "v1", b""), nonce="1")])
    world = World(controller, engine=engine)
    engine.discovery = world.discovery
    assert not world.discovery.is_connected
    await world.to_the_end()
    assert engine.seen == [True]
    assert not world.discovery.is_connected
    assert world.discovery.versions(AUTHORIZATION_TYPE) == {"shop/allow": "v1"}
