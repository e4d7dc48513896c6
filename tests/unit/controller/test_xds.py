import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from agent.controller.auth import Caller
from agent.controller.resources import Catalogue, resource
from agent.controller.xds import TYPES, Session
from agent.errors import ProtocolError
from agent.proto import authorization_pb2, workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

Request = discovery_pb2.DeltaDiscoveryRequest
Response = discovery_pb2.DeltaDiscoveryResponse


class Proxy:
    """A proxy at one end of a session, and the world it hears of at the other."""

    def __init__(self, *, complete: bool = True) -> None:
        self.catalogues = {type_url: Catalogue(type_url) for type_url in TYPES}
        self.reconnect()
        if complete:
            self.complete()

    def reconnect(self) -> None:
        self.session = Session(Caller("istio-system", "weft-proxy", node="node-1"), self.catalogues)

    def complete(self) -> None:
        for catalogue in self.catalogues.values():
            catalogue.is_complete = True

    def put_workload(self, uid: str, *, ip: str = "10.0.0.7", node: str = "", services: tuple[str, ...] = ()) -> None:
        body = workload_pb2.Address(workload=workload_pb2.Workload(uid=uid, node=node))
        self._update(ADDRESS_TYPE, uid, body, [f"/{ip}"], services)

    def put_service(self, name: str, ip: str = "10.96.0.1") -> None:
        self._update(ADDRESS_TYPE, name, workload_pb2.Address(service=workload_pb2.Service(name=name)), [f"/{ip}"], ())

    def put_policy(self, name: str, *, is_wide: bool = False, is_dry_run: bool = False) -> None:
        scope = authorization_pb2.NAMESPACE if is_wide else authorization_pb2.WORKLOAD_SELECTOR
        body = authorization_pb2.Authorization(name=name, scope=scope, dry_run=is_dry_run)
        new = resource(AUTHORIZATION_TYPE, name, body, is_wide=is_wide, is_dry_run=is_dry_run)
        self.session.mark(AUTHORIZATION_TYPE, self.catalogues[AUTHORIZATION_TYPE].update([new], []))

    def remove(self, type_url: str, name: str) -> None:
        self.session.mark(type_url, self.catalogues[type_url].update([], [name]))

    def ask(
        self, type_url: str, *subscribe: str, unsubscribe: tuple[str, ...] = (), held: dict[str, str] | None = None
    ) -> None:
        self.session.receive(
            Request(
                type_url=type_url,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=held or {},
            )
        )

    def hear(self) -> list[Response]:
        heard = []
        while (answer := self.session.next_response()) is not None:
            response = Response.FromString(answer[1])
            assert response.type_url == answer[0]
            heard.append(response)
        return heard

    def hear_names(self) -> list[tuple[str, list[str], list[str]]]:
        """Short type, names that came, names that went; one entry for each response."""
        return [
            (each.type_url.rpartition(".")[2], [one.name for one in each.resources], list(each.removed_resources))
            for each in self.hear()
        ]

    def _update(self, type_url: str, name: str, body: Message, aliases: list[str], topics: tuple[str, ...]) -> None:
        new = resource(type_url, name, body, aliases=aliases, topics=topics)
        self.session.mark(type_url, self.catalogues[type_url].update([new], []))


def test_a_wildcard_gets_everything_then_only_what_changes() -> None:
    proxy = Proxy()
    proxy.put_workload("a")
    proxy.put_workload("b")
    proxy.ask(ADDRESS_TYPE)
    assert proxy.hear_names() == [("Address", ["a", "b"], [])]
    proxy.put_workload("b", node="other")
    proxy.put_workload("a")
    assert proxy.hear_names() == [("Address", ["b"], [])]
    proxy.remove(ADDRESS_TYPE, "a")
    assert proxy.hear_names() == [("Address", [], ["a"])]
    assert proxy.hear_names() == []


def test_what_goes_before_the_first_response_was_never_there() -> None:
    proxy = Proxy()
    proxy.put_workload("a")
    proxy.put_workload("b")
    proxy.ask(ADDRESS_TYPE)
    proxy.remove(ADDRESS_TYPE, "a")
    proxy.put_workload("c")
    assert proxy.hear_names() == [("Address", ["b", "c"], [])]


def test_all_who_want_everything_at_one_revision_share_one_response() -> None:
    proxy = Proxy()
    proxy.put_workload("a")
    answers = []
    for _ in range(2):
        proxy.reconnect()
        proxy.ask(ADDRESS_TYPE)
        answers.append(proxy.session.next_response())
    assert answers[0] is not None and answers[1] is not None
    assert answers[0][1] is answers[1][1]
    proxy.put_workload("a", node="other")
    proxy.reconnect()
    proxy.ask(ADDRESS_TYPE)
    (response,) = proxy.hear()
    assert b"other" in response.resources[0].resource.value


def test_the_wildcard_may_be_taken_back_before_it_is_answered() -> None:
    proxy = Proxy()
    proxy.put_workload("a")
    proxy.put_workload("b", ip="10.0.0.8")
    proxy.ask(ADDRESS_TYPE, "*")
    proxy.ask(ADDRESS_TYPE, "b", unsubscribe=("*",))
    assert proxy.hear_names() == [("Address", ["b"], [])]


def test_a_resource_carries_its_body_version_and_aliases() -> None:
    proxy = Proxy()
    proxy.put_workload("a", ip="fd00::7")
    proxy.ask(ADDRESS_TYPE, "*")
    ((sent,),) = [response.resources for response in proxy.hear()]
    assert sent.resource.type_url == ADDRESS_TYPE
    assert workload_pb2.Address.FromString(sent.resource.value).workload.uid == "a"
    assert list(sent.aliases) == ["/fd00::7"]
    assert sent.version == proxy.catalogues[ADDRESS_TYPE].resources["a"].version


def test_a_version_depends_on_content_alone() -> None:
    first, second, other = Proxy(), Proxy(), Proxy()
    first.put_workload("a")
    second.put_workload("z")
    second.put_workload("a")
    other.put_workload("a", node="x")
    versions = [each.catalogues[ADDRESS_TYPE].resources["a"].version for each in (first, second, other)]
    assert versions[0] == versions[1] != versions[2]


def test_an_empty_type_is_answered_too_so_that_the_proxy_can_complete() -> None:
    proxy = Proxy()
    proxy.ask(AUTHORIZATION_TYPE)
    proxy.ask(ADDRESS_TYPE)
    assert proxy.hear_names() == [("Authorization", [], []), ("Address", [], [])]
    assert proxy.hear_names() == []


def test_nothing_is_said_before_the_cluster_has_been_read() -> None:
    proxy = Proxy(complete=False)
    proxy.ask(ADDRESS_TYPE, held={"a": "old", "gone": "old"})
    assert proxy.hear() == []
    proxy.put_workload("a")
    assert proxy.hear() == []
    proxy.complete()
    assert proxy.hear_names() == [("Address", ["a"], ["gone"])]


def test_after_a_reconnect_only_the_difference_goes_out() -> None:
    proxy = Proxy()
    for uid in ("same", "changed", "gone"):
        proxy.put_workload(uid)
    proxy.ask(ADDRESS_TYPE)
    held = {each.name: each.version for response in proxy.hear() for each in response.resources}
    proxy.put_workload("changed", node="x")
    proxy.put_workload("new")
    proxy.remove(ADDRESS_TYPE, "gone")
    proxy.reconnect()
    proxy.ask(ADDRESS_TYPE, held=held)
    assert proxy.hear_names() == [("Address", ["changed", "new"], ["gone"])]
    proxy.put_workload("same", node="x")
    assert proxy.hear_names() == [("Address", ["same"], [])]


def test_after_a_reconnect_without_a_difference_an_empty_response_goes_out() -> None:
    proxy = Proxy()
    proxy.put_workload("a")
    proxy.ask(ADDRESS_TYPE)
    held = {each.name: each.version for response in proxy.hear() for each in response.resources}
    proxy.reconnect()
    proxy.ask(ADDRESS_TYPE, held=held)
    assert proxy.hear_names() == [("Address", [], [])]


def test_policies_come_before_the_workloads_that_need_them_and_go_after() -> None:
    proxy = Proxy()
    proxy.ask(ADDRESS_TYPE)
    proxy.ask(AUTHORIZATION_TYPE)
    proxy.put_policy("shop/old")
    proxy.hear()
    proxy.put_workload("a")
    proxy.put_policy("shop/new")
    proxy.remove(AUTHORIZATION_TYPE, "shop/old")
    assert proxy.hear_names() == [
        ("Authorization", ["shop/new"], []),
        ("Address", ["a"], []),
        ("Authorization", [], ["shop/old"]),
    ]


def test_a_removed_policy_goes_at_once_when_no_address_waits() -> None:
    proxy = Proxy()
    proxy.put_policy("shop/old")
    proxy.ask(ADDRESS_TYPE)
    proxy.ask(AUTHORIZATION_TYPE)
    proxy.hear()
    proxy.remove(AUTHORIZATION_TYPE, "shop/old")
    assert proxy.hear_names() == [("Authorization", [], ["shop/old"])]


def test_a_policy_that_narrows_waits_for_the_workloads_and_one_that_widens_does_not() -> None:
    proxy = Proxy()
    proxy.put_policy("shop/p", is_wide=True)
    proxy.ask(ADDRESS_TYPE)
    proxy.ask(AUTHORIZATION_TYPE)
    proxy.hear()
    proxy.put_policy("shop/p", is_wide=False)
    proxy.put_workload("a")
    assert proxy.hear_names() == [("Address", ["a"], []), ("Authorization", ["shop/p"], [])]
    proxy.put_policy("shop/p", is_wide=True)
    proxy.put_workload("a", node="x")
    assert proxy.hear_names() == [("Authorization", ["shop/p"], []), ("Address", ["a"], [])]


def test_after_a_reconnect_policies_go_only_when_the_workloads_have_come() -> None:
    proxy = Proxy()
    proxy.ask(AUTHORIZATION_TYPE, held={"shop/gone": "1"})
    assert proxy.hear_names() == [("Authorization", [], [])]
    proxy.put_workload("a")
    proxy.ask(ADDRESS_TYPE)
    assert proxy.hear_names() == [("Address", ["a"], []), ("Authorization", [], ["shop/gone"])]


def test_after_a_reconnect_policies_go_when_the_answer_shows_that_no_workloads_are_wanted() -> None:
    proxy = Proxy()
    proxy.ask(AUTHORIZATION_TYPE, held={"shop/gone": "1"})
    (response,) = proxy.hear()
    proxy.session.receive(Request(type_url=AUTHORIZATION_TYPE, response_nonce=response.nonce))
    assert proxy.hear_names() == [("Authorization", [], ["shop/gone"])]


@pytest.mark.parametrize(
    ("metadata", "is_told"),
    [
        ({"WEFT_VERSION": "0.1.0"}, True),
        ({"ISTIO_VERSION": "1.29.0"}, True),
        ({"ISTIO_VERSION": "2.0-alpha"}, True),
        ({"ISTIO_VERSION": "1.28.9"}, False),
        ({"ISTIO_VERSION": "nightly"}, False),
        ({}, False),
    ],
)
def test_a_dry_run_reaches_only_proxies_that_do_not_enforce_it(metadata: dict[str, str], is_told: bool) -> None:
    proxy = Proxy()
    proxy.put_policy("shop/dry", is_dry_run=True)
    proxy.put_policy("shop/p")
    request = Request(type_url=AUTHORIZATION_TYPE)
    request.node.metadata.update(metadata)
    proxy.session.receive(request)
    told = {one.name for response in proxy.hear() for one in response.resources}
    assert told == ({"shop/dry", "shop/p"} if is_told else {"shop/p"})


def test_a_policy_that_becomes_a_dry_run_goes_from_proxies_that_would_enforce_it() -> None:
    proxy = Proxy()
    proxy.put_policy("shop/p")
    proxy.ask(ADDRESS_TYPE)
    proxy.ask(AUTHORIZATION_TYPE)
    proxy.hear()
    proxy.put_policy("shop/p", is_dry_run=True)
    assert proxy.hear_names() == [("Authorization", [], ["shop/p"])]


def test_changes_for_a_slow_reader_become_one_response_with_the_latest_state() -> None:
    proxy = Proxy()
    proxy.ask(ADDRESS_TYPE)
    proxy.hear()
    for number in range(1000):
        proxy.put_workload("a", node=f"node-{number}")
    assert len(proxy.session.subscriptions[ADDRESS_TYPE].pending) == 1
    ((sent,),) = [response.resources for response in proxy.hear()]
    assert workload_pb2.Address.FromString(sent.resource.value).workload.node == "node-999"


def test_something_that_came_and_went_unsent_is_harmless() -> None:
    proxy = Proxy()
    proxy.ask(ADDRESS_TYPE)
    proxy.hear()
    proxy.put_workload("a")
    proxy.remove(ADDRESS_TYPE, "a")
    assert proxy.hear_names() == [("Address", [], ["a"])]


@pytest.mark.parametrize("name", ["uid-a", "/10.0.0.7"])
def test_on_demand_one_workload_can_be_asked_for(name: str) -> None:
    proxy = Proxy()
    proxy.put_workload("uid-a")
    proxy.put_workload("uid-b", ip="10.0.0.8")
    proxy.ask(ADDRESS_TYPE, "*", unsubscribe=("*",))
    assert proxy.hear_names() == [("Address", [], [])]
    proxy.ask(ADDRESS_TYPE, name)
    assert proxy.hear_names() == [("Address", ["uid-a"], [])]
    proxy.put_workload("uid-b", ip="10.0.0.8", node="x")
    assert proxy.hear_names() == []
    proxy.put_workload("uid-a", node="x")
    assert proxy.hear_names() == [("Address", ["uid-a"], [])]
    proxy.remove(ADDRESS_TYPE, "uid-a")
    assert proxy.hear_names() == [("Address", [], ["uid-a"])]


@pytest.mark.parametrize("name", ["shop/web.shop.svc.cluster.local", "/10.96.0.1"])
def test_on_demand_a_service_comes_with_its_endpoints(name: str) -> None:
    proxy = Proxy()
    service = "shop/web.shop.svc.cluster.local"
    proxy.put_service(service)
    proxy.put_workload("uid-a", services=(service,))
    proxy.put_workload("uid-c", ip="10.0.0.9")
    proxy.ask(ADDRESS_TYPE, name)
    assert proxy.hear_names() == [("Address", [service, "uid-a"], [])]
    proxy.put_workload("uid-b", ip="10.0.0.8", services=(service,))
    assert proxy.hear_names() == [("Address", ["uid-b"], [])]


def test_on_demand_what_is_not_there_is_listed_as_removed_and_sent_once_it_is() -> None:
    proxy = Proxy()
    service = "shop/web.shop.svc.cluster.local"
    proxy.put_workload("uid-a", services=(service,))
    proxy.ask(ADDRESS_TYPE, "/10.96.0.1")
    assert proxy.hear_names() == [("Address", [], ["/10.96.0.1"])]
    proxy.put_service(service)
    assert proxy.hear_names() == [("Address", [service, "uid-a"], [])]


def test_on_demand_what_is_unsubscribed_is_no_longer_sent() -> None:
    proxy = Proxy()
    proxy.put_workload("uid-a")
    proxy.put_workload("uid-b", ip="10.0.0.8")
    proxy.ask(ADDRESS_TYPE, "uid-a", "uid-b")
    proxy.hear()
    proxy.ask(ADDRESS_TYPE, unsubscribe=("uid-a",))
    proxy.put_workload("uid-a", node="x")
    proxy.put_workload("uid-b", ip="10.0.0.8", node="x")
    assert proxy.hear_names() == [("Address", ["uid-b"], [])]


def test_what_is_asked_for_again_is_sent_again() -> None:
    proxy = Proxy()
    proxy.put_workload("uid-a")
    proxy.ask(ADDRESS_TYPE, "uid-a")
    proxy.hear()
    proxy.ask(ADDRESS_TYPE, "uid-a")
    assert proxy.hear_names() == [("Address", ["uid-a"], [])]


def test_an_ack_is_remembered_and_answered_with_silence() -> None:
    proxy = Proxy()
    proxy.ask(ADDRESS_TYPE)
    (response,) = proxy.hear()
    proxy.session.receive(Request(type_url=ADDRESS_TYPE, response_nonce=response.nonce))
    found = proxy.session.subscriptions[ADDRESS_TYPE]
    assert (found.nonce_acked, found.nonce_sent, found.rejections) == (response.nonce, response.nonce, 0)
    assert proxy.hear() == []


def test_a_nack_is_counted_and_does_not_start_a_loop() -> None:
    proxy = Proxy()
    proxy.put_workload("a")
    proxy.ask(ADDRESS_TYPE)
    (response,) = proxy.hear()
    refusal = Request(type_url=ADDRESS_TYPE, response_nonce=response.nonce)
    refusal.error_detail.message = "a: no address"
    proxy.session.receive(refusal)
    found = proxy.session.subscriptions[ADDRESS_TYPE]
    assert (found.rejections, found.last_rejection, found.nonce_acked) == (1, "a: no address", "")
    assert proxy.hear() == []


def test_every_response_has_a_nonce_of_its_own() -> None:
    proxy = Proxy()
    proxy.ask(ADDRESS_TYPE)
    proxy.ask(AUTHORIZATION_TYPE)
    nonces = [response.nonce for response in proxy.hear()]
    proxy.put_workload("a")
    nonces += [response.nonce for response in proxy.hear()]
    assert len({*nonces}) == 3


def test_a_type_that_is_not_served_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError, match="Cluster' is not served; accepted are"):
        Proxy().ask("type.googleapis.com/envoy.config.cluster.v3.Cluster")


class Mirror(Proxy):
    """A proxy that keeps what it hears, as an engine does."""

    def __init__(self) -> None:
        super().__init__()
        self.view: dict[str, str] = {}

    def listen(self) -> None:
        for response in self.hear():
            for name in response.removed_resources:
                self.view.pop(name, None)
            self.view.update({each.name: each.version for each in response.resources})

    def current(self) -> dict[str, str]:
        return {name: each.version for name, each in self.catalogues[ADDRESS_TYPE].resources.items()}


_NAMES = st.sampled_from(["uid-a", "uid-b", "uid-c"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _NAMES, st.sampled_from(["x", "y"]), st.booleans()),
        st.tuples(st.just("remove"), _NAMES | st.just("shop/web")),
        st.tuples(st.just("service")),
        st.tuples(st.just("listen")),
        st.tuples(st.just("reconnect")),
    ),
    max_size=30,
)


def _play(
    mirror: Mirror, steps: list[tuple[object, ...]], names: tuple[str, ...], unsubscribe: tuple[str, ...] = ()
) -> None:
    mirror.ask(ADDRESS_TYPE, *names, unsubscribe=unsubscribe)
    for step in steps:
        match step:
            case ("put", str(uid), str(node), bool(served)):
                mirror.put_workload(
                    uid, node=node, ip=f"10.0.0.{ord(uid[-1])}", services=("shop/web",) if served else ()
                )
            case ("remove", str(name)):
                mirror.remove(ADDRESS_TYPE, name)
            case ("service",):
                mirror.put_service("shop/web")
            case ("listen",):
                mirror.listen()
            case ("reconnect",):
                mirror.reconnect()
                mirror.ask(ADDRESS_TYPE, *names, unsubscribe=unsubscribe, held=mirror.view)
    mirror.listen()


@given(_STEPS)
def test_whatever_happens_a_wildcard_ends_with_what_there_is(steps: list[tuple[object, ...]]) -> None:
    mirror = Mirror()
    _play(mirror, steps, ("*",))
    assert mirror.view == mirror.current()


@given(_STEPS, st.sampled_from([(), ("*",)]))
def test_whatever_happens_a_subscriber_has_what_it_asked_for_and_nothing_stale(
    steps: list[tuple[object, ...]], taken_back: tuple[str, ...]
) -> None:
    mirror = Mirror()
    names = ("uid-a", "/10.96.0.1")
    _play(mirror, steps, (*names, *taken_back), taken_back)
    wanted = set().union(*map(mirror.catalogues[ADDRESS_TYPE].lookup, names))
    assert wanted <= mirror.view.keys()
    assert mirror.view.items() <= mirror.current().items()
