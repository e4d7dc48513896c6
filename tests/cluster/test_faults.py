"""What fails around a controller, on a real API server, and how little of it a node proxy notices."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc
import jwt
import pytest

from agent.apiserver.cluster import api_server
from agent.errors import WeftError
from agent.kube import POD, Cluster
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE, DISCOVERY_PORT
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import (
    PROXY_POD,
    SYSTEM,
    Controller,
    Json,
    a_controller,
    a_pod,
    bound_token,
    eventually,
    put,
    refusal,
    report,
    roots_of,
)
from tests.support.control_client import ControlClient
from tests.support.controller import Response, Stream, connected
from tests.support.relay import Gate, Place, relay

OWN: Final = f"spiffe://cluster.local/ns/{SYSTEM}/sa/weft-proxy"
UPDATES: Final = 300
WRITERS: Final = 4
MOST_VERSIONS: Final = 20  # of the large policy; buffers on the way take some
PRINCIPALS: Final = 18_000  # a policy of about a megabyte; etcd takes one and a half


def a_client(plane: ControlPlane, folder: Path, port: int, token: str) -> ControlClient:
    return ControlClient(folder, port, roots_of(plane), token)


def write_pod(plane: ControlPlane, namespace: str, name: str, address: str) -> None:
    pod = a_pod(namespace, name)
    put(plane, pod)
    report(plane, pod, address)


class Signed:
    """Certificates that somebody asks for all the time."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[str] = []


@contextlib.asynccontextmanager
async def signing(client: ControlClient) -> AsyncIterator[Signed]:
    signed = Signed()

    async def ask() -> None:
        while True:
            try:
                await client.sign(OWN)
                signed.count += 1
            except WeftError as exc:
                signed.failures.append(str(exc))

    task = asyncio.create_task(ask())
    try:
        yield signed
    finally:
        task.cancel()
        await asyncio.wait([task])


async def learns_of(plane: ControlPlane, client: ControlClient, namespace: str, name: str, address: str) -> None:
    """A change reaches the proxy."""
    await asyncio.to_thread(write_pod, plane, namespace, name, address)
    await client.until(f"{name} is known", lambda seen: seen.workload(namespace, name) is not None)


async def test_of_two_controllers_either_may_be_killed_or_ended_and_the_other_serves(
    plane: ControlPlane, token: str, namespace: str, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        one, two = stack.enter_context(a_controller(plane)), stack.enter_context(a_controller(plane))
        places = [Place("127.0.0.1", DISCOVERY_PORT, each.name) for each in (one, two)]
        port = stack.enter_context(relay(Place("127.0.0.1", 0), places))
        client = a_client(plane, tmp_path, port, token)
        async with client.following(), signing(client) as signed:
            await client.until_stream_is(open_=True)
            one.process.send_signal(signal.SIGKILL)
            await learns_of(plane, client, namespace, "after-the-first", "192.0.2.50")
            assert len(signed.failures) <= 1, "the call that was under way"
            signed.failures.clear()
            three = stack.enter_context(a_controller(plane))
            places[0] = Place("127.0.0.1", DISCOVERY_PORT, three.name)
            two.process.send_signal(signal.SIGTERM)
            await learns_of(plane, client, namespace, "after-the-second", "192.0.2.51")
        assert await asyncio.to_thread(two.process.wait, 10) == 0
    assert client.ended_streams() >= 1
    assert client.removals(namespace) == []
    assert signed.failures == []
    assert signed.count > 10


async def test_connections_are_ended_when_they_are_old_and_nothing_is_missed(
    plane: ControlPlane, token: str, namespace: str, tmp_path: Path
) -> None:
    with a_controller(plane, WEFT_MAX_CONNECTION_AGE="1s") as controller:
        client = a_client(plane, tmp_path, controller.port, token)
        async with client.following():
            await learns_of(plane, client, namespace, "first", "192.0.2.60")
            ended = client.ended_streams()
            async with asyncio.timeout(30):
                while client.ended_streams() == ended:  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.05)
            await learns_of(plane, client, namespace, "last", "192.0.2.69")
    assert client.removals(namespace) == []


async def test_while_the_api_server_is_away_the_last_state_is_served_and_then_all_that_was_missed(
    plane: ControlPlane, token: str, namespace: str, tmp_path: Path
) -> None:
    gate = Gate()
    with a_controller(plane, gate) as controller:
        client = a_client(plane, tmp_path, controller.port, token)
        async with client.following():
            await learns_of(plane, client, namespace, "stays", "192.0.2.70")
            await learns_of(plane, client, namespace, "goes", "192.0.2.71")
            gate.is_open = False
            await eventually(
                "it is noticed", lambda: b"".join(controller.log), lambda log: b"the last state stays" in log
            )
            plane.kubectl("delete", "pod", "goes", f"--namespace={namespace}", "--force", "--grace-period=0")
            await asyncio.to_thread(write_pod, plane, namespace, "comes", "192.0.2.72")
            other = bound_token(plane, "weft-proxy", PROXY_POD)  # nobody has looked at it yet
            assert await refusal(controller, roots_of(plane), other) is grpc.StatusCode.UNAVAILABLE
            assert client.workload(namespace, "goes") is not None
            gate.delay_seconds = 0.2  # and slow, when it is back
            gate.is_open = True
            await client.until("what came is known", lambda seen: seen.workload(namespace, "comes") is not None)
            await client.until("what went is gone", lambda seen: seen.workload(namespace, "goes") is None)
            assert client.workload(namespace, "stays") is not None
            await client.sign(OWN)
    assert client.removals(namespace) == [f"Kubernetes//Pod/{namespace}/goes"]
    assert client.ended_streams() == 0


@pytest.mark.parametrize("program", ["etcd", "kube-apiserver"])
async def test_a_control_plane_that_dies_and_comes_back_is_followed_on(
    plane: ControlPlane, controller: Controller, token: str, namespace: str, tmp_path: Path, program: str
) -> None:
    client = a_client(plane, tmp_path, controller.port, token)
    async with client.following():
        await learns_of(plane, client, namespace, "before", "192.0.2.80")
        killed, probe = plane.programs[program]
        killed.kill()
        killed.start_again()
        await asyncio.to_thread(killed.await_ready, probe)
        await asyncio.to_thread(plane.programs["kube-apiserver"][0].await_ready, plane.programs["kube-apiserver"][1])
        await learns_of(plane, client, namespace, "after", "192.0.2.81")
        await client.sign(OWN)
    assert client.removals(namespace) == []
    assert client.ended_streams() == 0


async def test_hundreds_of_changes_of_one_object_hold_nobody_up_and_the_last_one_counts(
    plane: ControlPlane, controller: Controller, token: str, namespace: str, tmp_path: Path
) -> None:
    client = a_client(plane, tmp_path, controller.port, token)
    async with client.following(), api_server(plane.kubeconfig) as cluster:
        await learns_of(plane, client, namespace, "busy", "192.0.2.90")
        before, began = client.engine.updates, time.monotonic()
        turns = asyncio.Semaphore(WRITERS)
        writing = asyncio.gather(*(write(cluster, turns, namespace, number) for number in range(UPDATES)))
        await learns_of(plane, client, namespace, "other", "192.0.2.91")
        assert not writing.done()
        await writing
        seconds = time.monotonic() - began
        await cluster.patch(POD, namespace, "busy", labelled(UPDATES))
        await client.until("the last is known", lambda seen: revision(seen, namespace, "busy") == f"v{UPDATES}")
        updates = client.engine.updates - before
    print(f"{UPDATES / seconds:.0f} writes a second became {updates} updates")
    assert client.ended_streams() == 0


async def write(cluster: Cluster, turns: asyncio.Semaphore, namespace: str, number: int) -> None:
    async with turns:
        await cluster.patch(POD, namespace, "busy", labelled(number))


def labelled(number: int) -> Json:
    return {"metadata": {"labels": {"app": "busy", "version": f"v{number}"}}}


def revision(client: ControlClient, namespace: str, name: str) -> str:
    found = client.workload(namespace, name)
    return found.canonical_revision if found is not None else ""


async def test_an_object_of_a_megabyte_arrives_and_whoever_does_not_read_it_loses_its_stream(
    plane: ControlPlane, token: str, namespace: str, tmp_path: Path
) -> None:
    with a_controller(plane, PILOT_XDS_SEND_TIMEOUT="1s") as controller:
        client = a_client(plane, tmp_path, controller.port, token)
        async with client.following(), connected(roots_of(plane), port=controller.port) as channel:
            stalled = Stream(channel, bound_token(plane, "weft-proxy", PROXY_POD))
            await stalled.ask(AUTHORIZATION_TYPE)
            await stalled.ask(ADDRESS_TYPE)  # and it never reads
            for version in range(MOST_VERSIONS):
                put(plane, a_large_policy(namespace, version))
                await client.until("it is known", lambda seen, version=version: has(seen, namespace, version))
                if b"it has not read a response for 1 s" in b"".join(controller.log):
                    break
            await eventually("it is cut off", lambda: b"".join(controller.log), lambda log: b"it has not read" in log)
            stalled.call.cancel()
    assert client.ended_streams() == 0


def a_large_policy(namespace: str, version: int) -> Json:
    principals = [f"cluster.local/ns/{namespace}/sa/account-{version}-{number:06}" for number in range(PRINCIPALS)]
    rules = [{"from": [{"source": {"principals": principals}}]}]
    metadata = {"name": "large", "namespace": namespace}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": {"rules": rules},
    }


def has(client: ControlClient, namespace: str, version: int) -> bool:
    found = client.policy(namespace, "large")
    if found is None:
        return False
    (match,) = (match for rule in found.rules for clause in rule.clauses for match in clause.matches)
    return len(match.principals) == PRINCIPALS and f"account-{version}-" in match.principals[0].exact


async def test_an_expired_token_is_refused(plane: ControlPlane, controller: Controller, token: str) -> None:
    claims: Json = jwt.decode(token, options={"verify_signature": False})
    now = int(time.time())
    old = {**claims, "iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}
    header = jwt.get_unverified_header(token)
    key = (plane.folder / "sa.key").read_bytes()
    expired = jwt.encode(old, key, algorithm=header["alg"], headers={"kid": header["kid"]})
    fresh = jwt.encode(claims, key, algorithm=header["alg"], headers={"kid": header["kid"]})
    async with connected(roots_of(plane), port=controller.port) as channel:
        stream = Stream(channel, fresh)
        await stream.ask(ADDRESS_TYPE)
        assert isinstance(await stream.hear(), Response)
    assert await refusal(controller, roots_of(plane), expired) is grpc.StatusCode.UNAUTHENTICATED
    await eventually("it is told", lambda: b"".join(controller.log), lambda log: b"has expired" in log)
