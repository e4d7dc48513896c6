"""The real controller process, over real TLS, in a network namespace of its own."""

import asyncio
import json
import shutil
import ssl
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from cryptography import x509

from agent import kube
from agent.controller import server
from agent.controller.authority import ca
from agent.controller.authority.in_force import InForce
from agent.controller.main import run
from agent.controller.settings import Settings
from agent.errors import UnavailableError
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.controller import HOST, Place, Stream, a_place, beside, certificate, connected, running
from tests.support.objects import a_pod, a_service
from tests.support.signer import Signer, claims_of

WEB = "Kubernetes//Pod/shop/web-1"
SERVICE = "shop/web.shop.svc.cluster.local"
IDENTITY = "spiffe://cluster.local/ns/shop/sa/web"
ENROLL = {"metadata": {"annotations": {"ambient.istio.io/redirection": "enabled"}}}


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def place(tmp_path: Path, signer: Signer) -> Iterator[Place]:
    with a_place(tmp_path, signer) as made:
        kube.StateDirectory.create_at(made.state)
        yield made


async def fill(place: Place) -> kube.StateDirectory:
    """One service, its pod on node-1, and a pod on node-2."""
    state = kube.StateDirectory(place.state)
    await state.create(kube.POD, a_pod())
    await state.create(kube.POD, a_pod("db-1", ip="10.0.1.7", node="node-2", account="db", labels={"app": "db"}))
    await state.create(kube.SERVICE, a_service())
    return state


async def test_a_proxy_is_synced_and_sees_every_change_within_200_ms(place: Place, signer: Signer) -> None:
    await fill(place)
    with running(place):
        beside(place, _sees_changes, place, signer.token(claims_of()))


async def _sees_changes(place: Place, token: str) -> None:
    state = kube.StateDirectory(place.state)
    async with connected(place.root_pem) as channel:
        stream = Stream(channel, token)
        await stream.ask(AUTHORIZATION_TYPE)
        policies = await stream.hear()
        await stream.ask(ADDRESS_TYPE)
        addresses = await stream.hear()
        assert (policies.type_url, len(policies.resources)) == (AUTHORIZATION_TYPE, 0)
        assert {each.name for each in addresses.resources} == {WEB, SERVICE, "Kubernetes//Pod/shop/db-1"}
        latencies = []
        for number in range(50):
            patch = {"metadata": {"labels": {"version": f"v{number}"}}}
            before = time.perf_counter()
            await state.patch(kube.POD, "shop", "web-1", patch)
            changed = await stream.hear()
            latencies.append(time.perf_counter() - before)
            assert [each.name for each in changed.resources] == [WEB]
        median, worst = statistics.median(latencies) * 1000, max(latencies) * 1000
        print(f"from a change to the proxy: median {median:.1f} ms, worst {worst:.1f} ms")
        assert max(latencies) < 0.2
        await state.delete(kube.POD, "shop", "web-1")
        assert list((await stream.hear()).removed_resources) == [WEB]


async def test_after_a_restart_a_proxy_is_sent_only_the_difference(place: Place, signer: Signer) -> None:
    state = await fill(place)
    token = signer.token(claims_of())
    held = place.folder / "held.json"
    with running(place):
        beside(place, _remembers_versions, place, token, held)
    await state.patch(kube.POD, "shop", "web-1", ENROLL)
    await state.delete(kube.POD, "shop", "db-1")
    with running(place):
        beside(place, _hears_the_difference, place, token, held)


async def _remembers_versions(place: Place, token: str, held: Path) -> None:
    async with connected(place.root_pem) as channel:
        stream = Stream(channel, token)
        await stream.ask(ADDRESS_TYPE)
        _save(held, {each.name: each.version for each in (await stream.hear()).resources})


async def _hears_the_difference(place: Place, token: str, held: Path) -> None:
    async with connected(place.root_pem) as channel:
        stream = Stream(channel, token)
        await stream.ask(ADDRESS_TYPE, held=_saved(held))
        response = await stream.hear()
        assert [each.name for each in response.resources] == [WEB]
        assert list(response.removed_resources) == ["Kubernetes//Pod/shop/db-1"]


def _save(path: Path, versions: dict[str, str]) -> None:
    path.write_text(json.dumps(versions))


def _saved(path: Path) -> dict[str, str]:
    versions: dict[str, str] = json.loads(path.read_text())
    return versions


async def test_callers_get_what_is_theirs_and_nothing_else(place: Place, signer: Signer) -> None:
    await fill(place)
    claims = {
        "proxy": claims_of(),
        "app": claims_of("shop", "web", pod="web-1"),
        "expired": claims_of(lifetime_seconds=-60),
        "other audience": claims_of(aud=["kubernetes"]),
        "other node": claims_of(node="node-2"),
    }
    tokens: dict[str, str | None] = {name: signer.token(each) for name, each in claims.items()}
    tokens |= {"none": None, "forged": Signer().token(claims_of()), "noise": "noise"}
    with running(place):
        beside(place, _asks_for_certificates, place, tokens)
        beside(place, _asks_for_discovery, place, tokens)


async def _asks_for_certificates(place: Place, tokens: dict[str, str | None]) -> None:
    unauthenticated, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    refusals = dict.fromkeys(("none", "forged", "noise", "expired", "other audience"), unauthenticated)
    async with connected(place.root_pem) as channel:
        for name, code in {**refusals, "other node": denied}.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certificate(channel, tokens[name], IDENTITY)
            assert (name, caught.value.code()) == (name, code)
        for name in ("proxy", "app"):
            chain = (await certificate(channel, tokens[name], IDENTITY)).cert_chain
            assert chain[-1].encode() == place.root_pem
        for name in ("proxy", "app"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certificate(channel, tokens[name], "spiffe://cluster.local/ns/shop/sa/db")
            assert (name, caught.value.code()) == (name, denied)


async def _asks_for_discovery(place: Place, tokens: dict[str, str | None]) -> None:
    codes = {"noise": grpc.StatusCode.UNAUTHENTICATED, "app": grpc.StatusCode.PERMISSION_DENIED}
    for name, code in codes.items():
        async with connected(place.root_pem) as channel:
            stream = Stream(channel, str(tokens[name]))
            assert (name, await stream.call.code()) == (name, code)


async def test_a_client_that_expects_another_server_does_not_talk_to_us(place: Place, signer: Signer) -> None:
    with running(place):
        beside(place, _expects_another_server, place)


async def _expects_another_server(place: Place) -> None:
    async with connected(place.root_pem, "elsewhere.example") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await certificate(channel, None, IDENTITY)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_a_minute_can_be_had_and_none_longer_than_allowed(place: Place, signer: Signer) -> None:
    await fill(place)
    with running(place, MAX_WORKLOAD_CERT_TTL="2h", DEFAULT_WORKLOAD_CERT_TTL="1h"):
        beside(place, _asks_for_lifetimes, place, signer.token(claims_of()))


async def _asks_for_lifetimes(place: Place, token: str) -> None:
    async with connected(place.root_pem) as channel:
        for asked, given in ((60, 60), (0, 3600), (86400, 7200), (2**62, 7200), (-5, 3600)):
            chain = (await certificate(channel, token, IDENTITY, seconds=asked)).cert_chain
            leaf = x509.load_pem_x509_certificate(chain[0].encode())
            left = leaf.not_valid_after_utc - datetime.now(UTC)
            assert timedelta(seconds=given - 5) < left <= timedelta(seconds=given)


async def test_a_broken_object_is_shown_and_its_last_good_state_stays(place: Place, signer: Signer) -> None:
    await fill(place)
    with running(place):
        beside(place, _breaks_an_object, place, signer.token(claims_of()))


async def _breaks_an_object(place: Place, token: str) -> None:
    state = kube.StateDirectory(place.state)
    async with connected(place.root_pem) as channel, aiohttp.ClientSession("http://127.0.0.1:15014") as http:
        stream = Stream(channel, token)
        await stream.ask(ADDRESS_TYPE)
        await stream.hear()
        await state.patch(kube.POD, "shop", "web-1", {"metadata": {"labels": {"istio.io/dataplane-mode": "on"}}})
        await state.patch(kube.SERVICE, "shop", "web", {"spec": {"publishNotReadyAddresses": True}})
        assert [each.name for each in (await stream.hear()).resources] == [SERVICE]
        syncz = await _json(http, "/debug/syncz")
        (problem,) = syncz["problems"]
        assert problem.startswith(f"{place.state}/pods/shop_web-1.json: Pod shop/web-1: metadata.labels:")
        (proxy,) = syncz["proxies"]
        found = proxy["types"][ADDRESS_TYPE]
        assert (proxy["node"], found["wildcard"], found["nacks"]) == ("node-1", True, 0)
        assert await _json(http, "/debug/problems") == [problem]
        async with http.get("/readyz") as ready, http.get("/metrics") as metrics:
            assert ready.status == 200
            text = await metrics.text()
        assert "pilot_xds 1.0\n" in text
        assert "weft_controller_problems 1.0\n" in text


async def _json(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        return await response.json()


def test_a_controller_without_a_state_directory_says_so(place: Place) -> None:
    shutil.rmtree(place.state)
    beside(place, _starts_in_vain, place.environment)


async def _starts_in_vain(environment: dict[str, str]) -> None:
    with pytest.raises(UnavailableError, match="is this a state directory"):
        await run(Settings.parse(environment))


def test_the_servers_own_certificate_is_renewed_without_a_restart(place: Place) -> None:
    beside(place, _renews, place.folder / "ca")


async def _renews(folder: Path) -> None:
    now = server.utc_now()
    clock = [now]
    authority = ca.load_or_create(folder, now)
    own = server.ServerCertificate(InForce(authority), timedelta(hours=1), lambda: clock[0])
    bare = grpc.aio.server()
    bare.add_secure_port("127.0.0.1:15012", own.credentials())
    await bare.start()
    serials = []
    for elapsed in (0, 10, 31, 40):
        clock[0] = now + timedelta(minutes=elapsed)
        serials.append(await _server_serial())
    await bare.stop(0)
    assert serials[0] == serials[1] != serials[2] == serials[3]


async def _server_serial() -> int:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", 15012, ssl=context, server_hostname=HOST)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number
