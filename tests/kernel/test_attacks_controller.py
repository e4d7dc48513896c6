"""The controller's port 15012 under attack: by whoever reaches it, and by the holder of a stolen node token."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest

from agent import kube
from agent.controller.discovery import MOST_STREAMS
from agent.proto import ca_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.attacker import counted, resident_kb
from tests.support.controller import Place, Request, Stream, a_place, beside, certificate, connected, running
from tests.support.objects import a_pod
from tests.support.signer import Signer, claims_of

PODS = 3000
OWN = "spiffe://cluster.local/ns/istio-system/sa/weft-proxy"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[tuple[Place, int]]:
    """A controller of a big mesh, and its pid."""
    with a_place(tmp_path_factory.mktemp("controller"), signer) as place:
        asyncio.run(_fill(place.state))
        with running(place) as process:
            yield place, process.pid


async def _fill(state: Path) -> None:
    kube.StateDirectory.create_at(state)
    objects = kube.StateDirectory(state)
    for number in range(PODS):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        await objects.create(kube.POD, a_pod(f"pod-{number}", ip=address, node="node-2", account=f"account-{number}"))


async def _bystander(place: Place, token: str) -> float:
    """Seconds until another proxy has everything and a certificate."""
    begun = time.monotonic()
    async with connected(place.root_pem) as channel:
        stream = Stream(channel, token)
        await stream.ask(ADDRESS_TYPE)
        assert len((await stream.hear()).resources) == PODS
        assert (await certificate(channel, token, OWN)).cert_chain
    return time.monotonic() - begun


async def _metric(name: str) -> float:
    async with aiohttp.ClientSession("http://127.0.0.1:15014") as http, http.get("/metrics") as answer:
        return counted(await answer.text(), name)


Attack = Callable[[Place, str], Awaitable[None]]


async def _survives(place: Place, pid: int, token: str, other: str, attack: Attack, megabytes: int) -> None:
    await _bystander(place, other)  # what the first one costs is no part of it
    before = resident_kb(pid)
    async with asyncio.timeout(40):
        await attack(place, token)
    assert await _bystander(place, other) < 5
    grown = (resident_kb(pid) - before) // 1024
    print(f"grown by {grown} MB")
    assert grown < megabytes


def attacked(controller: tuple[Place, int], signer: Signer, attack: Attack, megabytes: int) -> None:
    place, pid = controller
    other = signer.token(claims_of(node="node-3", pod="weft-proxy-node-3"))
    beside(place, _survives, place, pid, signer.token(claims_of()), other, attack, megabytes)


async def _garbage(place: Place, token: str) -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(5000), b""):
        writers = [(await asyncio.open_connection("127.0.0.1", 15012))[1] for _ in range(150)]
        for writer in writers:
            writer.write(said)
        assert await _bystander(place, token) < 5
        for writer in writers:
            writer.close()


def test_garbage_and_silence_instead_of_tls_leave_the_others_alone(
    controller: tuple[Place, int], signer: Signer
) -> None:
    attacked(controller, signer, _garbage, 40)


async def _huge(place: Place, token: str) -> None:
    async with connected(place.root_pem) as channel:
        method = channel.unary_unary(CREATE, request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString)
        for size, code in ((8_000_000, grpc.StatusCode.RESOURCE_EXHAUSTED), (20_000, grpc.StatusCode.INVALID_ARGUMENT)):
            calls = [
                method(
                    ca_pb2.IstioCertificateRequest(csr="x" * size),
                    metadata=(("authorization", f"Bearer {token}"),),
                    timeout=20,
                )
                for _ in range(8)
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [each.code() for each in answers if isinstance(each, grpc.aio.AioRpcError)] == [code] * 8


def test_huge_messages_are_refused(controller: tuple[Place, int], signer: Signer) -> None:
    attacked(controller, signer, _huge, 60)


async def _long_metadata(place: Place, token: str) -> None:
    before = await _metric("citadel_server_authentication_failure_count_total")
    async with connected(place.root_pem) as channel:
        for bad in ("x" * 100_000, "a.b.c", f"{token}x"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certificate(channel, bad, OWN)
            assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED)
    assert await _metric("citadel_server_authentication_failure_count_total") == before + 2


def test_tokens_that_are_none_are_counted(controller: tuple[Place, int], signer: Signer) -> None:
    attacked(controller, signer, _long_metadata, 20)


async def _many_streams(place: Place, token: str) -> None:
    before = await _metric("weft_controller_streams_superseded_total")
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for _ in range(10):
            channel = await stack.enter_async_context(connected(place.root_pem))
            for _ in range(30):
                streams.append(stream := Stream(channel, token))
                await stream.ask(ADDRESS_TYPE)  # and nobody ever reads the answer
        while await _metric("weft_controller_streams_superseded_total") < before + len(streams) - MOST_STREAMS:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert await _metric("pilot_xds") <= MOST_STREAMS
        for each in streams:
            each.call.cancel()


def test_three_hundred_streams_of_one_token_that_nobody_reads_are_four(
    controller: tuple[Place, int], signer: Signer
) -> None:
    attacked(controller, signer, _many_streams, 60)


async def _many_names(place: Place, token: str) -> None:
    async with connected(place.root_pem) as channel:
        stream = Stream(channel, token)
        for turn in range(3):
            names = [f"shop/{turn}-{number}.example" for number in range(40_000)]
            await stream.call.write(Request(type_url=AUTHORIZATION_TYPE, resource_names_subscribe=names))
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await stream.call.read() is not grpc.aio.EOF:
                pass
        assert await stream.call.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_hundred_thousand_names_are_too_many(controller: tuple[Place, int], signer: Signer) -> None:
    attacked(controller, signer, _many_names, 60)


async def _other_nodes(place: Place, token: str) -> None:
    before = await _metric("weft_controller_forbidden_total")
    async with connected(place.root_pem) as channel:
        for account in ("account-0", "account-17", "none"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certificate(channel, token, f"spiffe://cluster.local/ns/shop/sa/{account}")
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert await _metric("weft_controller_forbidden_total") == before + 3


def test_a_stolen_node_token_gets_no_identity_of_another_node(controller: tuple[Place, int], signer: Signer) -> None:
    attacked(controller, signer, _other_nodes, 20)
