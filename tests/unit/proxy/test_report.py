import json
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.proxy.certificates import Certificate, State, Status
from agent.proxy.readiness import DISCOVERY, Readiness
from agent.proxy.report import Report
from agent.wire import ADDRESS_TYPE
from tests.support.proxy import IDENTITY, FakeEngine

END = datetime(2026, 1, 2, tzinfo=UTC)


class Held:
    """Discovery with one workload and one policy."""

    is_connected = True

    def versions(self, type_url: str) -> dict[str, str]:
        return {"web": "w1"} if type_url == ADDRESS_TYPE else {"shop/allow": "p1"}


async def test_the_report_says_what_status_needs_and_no_more() -> None:
    engine, readiness = FakeEngine(), Readiness()
    engine.served["uid-1"] = ("web", "shop", "web")
    readiness.done(DISCOVERY)
    certificate = Certificate(IDENTITY, (), (), 7, END, END)
    statuses = [Status(IDENTITY, State.AVAILABLE, certificate), Status("other", State.UNAVAILABLE, None, "away")]
    (route,) = Report(engine, Held(), lambda: statuses, readiness, "1.2.3", 5.0).routes()
    response = await route.handler(make_mocked_request("GET", "/status"))  # type: ignore[call-arg, misc]
    assert isinstance(response, web.Response)
    assert json.loads(response.text or "") == {
        "version": "1.2.3",
        "started": 5.0,
        "connected": True,
        "pending": ["pod hand-over"],
        "pods": ["uid-1"],
        "addresses": 1,
        "policies": {"shop/allow": "p1"},
        "certificates": [
            {"identity": IDENTITY, "state": "Available", "error": "", "not_after": END.timestamp(), "serial": "7"},
            {"identity": "other", "state": "Unavailable", "error": "away", "not_after": None, "serial": None},
        ],
    }
