from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.admin import is_loopback, only_local


async def _says_hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def asked(remote: str, host: str) -> web.StreamResponse:
    (route,) = only_local([web.get("/debug/state", _says_hello)])
    assert (route.method, route.path) == ("GET", "/debug/state")
    transport = SimpleNamespace(
        get_extra_info=lambda name, default=None: {"peername": (remote, 4711)}.get(name, default)
    )
    request = make_mocked_request("GET", "/debug/state", {"Host": host}, transport=transport)
    response = await route.handler(request)  # type: ignore[call-arg, misc]
    assert isinstance(response, web.StreamResponse)
    return response


@pytest.mark.parametrize(
    ("remote", "host"),
    [("127.0.0.1", "localhost:15014"), ("::1", "[::1]:15014"), ("127.0.0.1", "127.0.0.1"), ("::1", "localhost")],
)
async def test_a_local_caller_is_answered(remote: str, host: str) -> None:
    response = await asked(remote, host)
    assert isinstance(response, web.Response) and response.text == "hello"


@pytest.mark.parametrize("remote", ["10.244.1.2", "fd00::1", "", "::ffff:10.0.0.1"])
async def test_a_caller_from_elsewhere_is_refused_with_the_reason(remote: str) -> None:
    with pytest.raises(web.HTTPForbidden) as refused:
        await asked(remote, "localhost")
    assert refused.value.text == "/debug/state answers on localhost only: forward a port to this process\n"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:15014", "10.0.0.1:15014", ""])
async def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    with pytest.raises(web.HTTPForbidden, match="Forbidden") as refused:
        await asked("127.0.0.1", host)
    assert "answers to the name localhost only" in (refused.value.text or "")


def test_loopback_is_told_from_what_only_begins_like_it() -> None:
    hosts = ["localhost", "localhost:80", "127.0.0.1", "127.1.2.3:80", "::1", "[::1]", "[::1]:80"]
    assert all(is_loopback(host) for host in hosts)
    assert not any(is_loopback(host) for host in ["localhost.example", "127.0.0.1.example:80", "128.0.0.1", ":80"])
