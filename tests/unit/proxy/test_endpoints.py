import json
import logging
from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from agent.metrics import ProxyMetrics
from agent.proxy import levels
from agent.proxy.certificates import State, Status, accept, signing_request
from agent.proxy.endpoints import Admin, metrics_routes, readiness_routes
from agent.proxy.readiness import DISCOVERY, HANDOVER, Readiness
from agent.proxy.settings import Settings
from tests.support.proxy import IDENTITY, FakeAuthority, FakeClock, FakeEngine

SETTINGS = Settings.parse({"NODE_NAME": "node-1", "AUTH_TOKEN": "/run/token"}, cores=2, descriptors=20_000)


@pytest.fixture(autouse=True)
def unchanged_levels() -> Iterator[None]:
    before = logging.getLevelName(logging.getLogger().level)
    yield
    levels.change(FakeEngine(), [("", before)])


async def asked(routes: list[web.RouteDef], method: str, path: str) -> web.Response:
    (route,) = [each for each in routes if (each.method, each.path) == (method, path.partition("?")[0])]
    response = await route.handler(make_mocked_request(method, path))  # type: ignore[call-arg, misc]
    assert isinstance(response, web.Response)
    return response


def an_admin(statuses: list[Status], quits: list[str]) -> list[web.RouteDef]:
    return Admin(FakeEngine(), lambda: statuses, SETTINGS, "1.2.3", lambda: quits.append("quit")).routes()


async def test_readiness_names_what_it_waits_for() -> None:
    readiness = Readiness()
    routes = readiness_routes(readiness)
    response = await asked(routes, "GET", "/healthz/ready")
    assert (response.status, response.text) == (500, "not ready, pending: discovery, pod hand-over\n")
    readiness.done(DISCOVERY)
    readiness.done(HANDOVER)
    response = await asked(routes, "GET", "/healthz/ready")
    assert (response.status, response.text) == (200, "ready\n")
    readiness.begin_drain()
    assert (await asked(routes, "GET", "/healthz/ready")).status == 500


async def test_metrics_are_at_both_of_their_addresses() -> None:
    registry = CollectorRegistry()
    ProxyMetrics(registry, "1.2.3")
    for path in ("/metrics", "/stats/prometheus"):
        response = await asked(metrics_routes(registry), "GET", path)
        assert isinstance(response.body, bytes)
        assert b'istio_build{component="ztunnel",tag="1.2.3"} 1.0' in response.body
        assert response.headers["content-type"].startswith("text/plain")


async def test_the_dump_has_certificates_and_settings_but_no_secret() -> None:
    clock = FakeClock()
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await FakeAuthority(clock).sign(IDENTITY, signing_request(IDENTITY, key), 60)
    certificate = accept(IDENTITY, key, answer, clock.now)
    statuses = [Status(IDENTITY, State.AVAILABLE, certificate), Status("other", State.UNAVAILABLE, None, "away")]
    text = (await asked(an_admin(statuses, []), "GET", "/config_dump")).text or ""
    dump = json.loads(text)
    assert "PRIVATE" not in text
    assert [(each["identity"], each["state"]) for each in dump["certificates"]] == [
        (IDENTITY, "Available"),
        ("other", "Unavailable: away"),
    ]
    assert dump["certificates"][0]["certChain"] == [
        {
            "serialNumber": str(certificate.serial),
            "validFrom": "2026-01-01T00:00:00+00:00",
            "expirationTime": "2026-01-02T00:00:00+00:00",
        }
    ]
    assert (dump["workloads"], dump["config"]["token"], dump["version"]) == ([], "/run/token", {"version": "1.2.3"})


async def test_levels_are_set_for_all_for_one_and_back() -> None:
    routes = an_admin([], [])

    async def said(query: str) -> str:
        return ((await asked(routes, "POST", f"/logging{query}")).text or "").removeprefix("current log level is ")

    assert await said("?level=warn") == "warning,access:info\n"
    assert await said("?level=agent.proxy:debug") == "warning,agent.proxy:debug,access:info\n"
    assert await said("?access=error") == "warning,agent.proxy:debug,access:error\n"
    assert await said("") == "warning,agent.proxy:debug,access:error\n"
    assert await said("?level=error,access:off") == "error,access:off\n"
    assert await said("?reset") == "info,access:info\n"


@pytest.mark.parametrize(
    ("query", "accepted"),
    [
        ("level=loud", "DEBUG, INFO, WARNING, ERROR"),
        ("level=", "LOGGER:LEVEL"),
        ("level=info,loud", "LOGGER:LEVEL"),
        ("level=agent.proxi:debug", "a logger is agent"),
        ("level=access:debug", "off, error, info"),
        ("access=all", "off, error, info"),
        ("access=off&level=loud", "LOGGER:LEVEL"),
        ("acces=off", "access, level, reset"),
    ],
)
async def test_a_level_that_is_not_understood_changes_nothing_and_says_what_is(query: str, accepted: str) -> None:
    engine = FakeEngine()
    routes = Admin(engine, list, SETTINGS, "1.2.3", lambda: None).routes()
    before = levels.shown(engine)
    with pytest.raises(web.HTTPBadRequest) as refused:
        await asked(routes, "POST", f"/logging?{query}")
    assert accepted in (refused.value.text or "")
    assert levels.shown(engine) == before


async def test_explaining_asks_the_engine_about_a_workload_or_about_a_pod() -> None:
    routes = an_admin([], [])
    into = await asked(routes, "GET", f"/explain?destination=10.0.0.1:80&source_ip=10.0.0.2&source={IDENTITY}")
    assert json.loads(into.text or "") == ["10.0.0.1:80", IDENTITY, "10.0.0.2"]
    out = await asked(routes, "GET", "/explain?destination=10.0.0.1:80&pod=uid-1")
    assert json.loads(out.text or "") == ["uid-1", "10.0.0.1:80"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("source_ip=10.0.0.2", "destination"),
        ("destination=10.0.0.1:80", "source_ip"),
        ("destination=10.0.0.1:80&source_ip=nowhere", "source_ip"),
        ("destination=10.0.0.1:80&pod=uid-1&source_ip=10.0.0.2", "source_ip"),
        ("destination=10.0.0.1:80&source_ip=10.0.0.2&identity=x", "identity"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_a_400_that_names_the_parameter(query: str, parameter: str) -> None:
    with pytest.raises(web.HTTPBadRequest) as refused:
        await asked(an_admin([], []), "GET", f"/explain?{query}")
    assert (refused.value.text or "").startswith(f"{parameter}: ")


async def test_quitting_is_asked_for_with_a_post() -> None:
    quits: list[str] = []
    await asked(an_admin([], quits), "POST", "/quitquitquit")
    assert quits == ["quit"]
    assert ("GET", "/quitquitquit") not in [(route.method, route.path) for route in an_admin([], [])]
