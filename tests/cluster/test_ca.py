"""The mesh's authority changes while proxies renew their certificates and connect, and none of it fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import pytest
from cryptography import x509

from agent.controller import registration
from agent.controller.authority.ca import key_pem
from agent.wire import DEBUG_PORT, WEBHOOK_PORT
from tests.support.authorities import Issuer, an_authority, pem, plugged_in
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import (
    SYSTEM,
    Controller,
    a_controller,
    eventually,
    forget_webhook,
    get,
    put,
)
from tests.support.controller import HOST
from tests.support.peers import Peer, Peers
from tests.support.relay import Place, relay

SECRETS: Final = ("cacerts", "istio-ca-secret", "weft-ca-record")
# What takes hours in a mesh: proxies here renew after less than half a second.
FAST: Final = {"WEFT_ROOT_OVERLAP": "6s", "MAX_WORKLOAD_CERT_TTL": "4s"}


@pytest.fixture(autouse=True)
def no_past(plane: ControlPlane, mesh: None) -> Iterator[None]:
    """Each test begins with a mesh that has no authority yet, and leaves none."""
    forget(plane)
    yield
    forget(plane)


def forget(plane: ControlPlane) -> None:
    plane.kubectl("delete", "secret", "--ignore-not-found", f"--namespace={SYSTEM}", *SECRETS)
    plane.kubectl("delete", "configmap", "--ignore-not-found", f"--namespace={SYSTEM}", "istio-ca-root-cert")
    forget_webhook(plane)


def plug_in(plane: ControlPlane, signer: Issuer, root: Issuer) -> None:
    """As somebody who replaces the whole Secret."""
    chain = {"cert_chain": b"", "root_cert": pem(root[0])}
    put(plane, plugged_in(ca_cert=pem(signer[0]), ca_key=key_pem(signer[1]), **chain))


def mounted(plane: ControlPlane) -> bytes:
    """What a pod has mounted to know its controller by."""
    for each in get(plane, "configmaps", f"--namespace={SYSTEM}")["items"]:
        if each["metadata"]["name"] == "istio-ca-root-cert":
            return str(each["data"]["root-cert.pem"]).encode()
    return b""


def registered(plane: ControlPlane) -> bytes:
    """By what the API server knows the webhook."""
    for each in get(plane, "validatingwebhookconfigurations")["items"]:
        if each["metadata"]["name"] == registration.NAME:
            return base64.b64decode(each["webhooks"][0]["clientConfig"]["caBundle"])
    return b""


def parsed(roots: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(roots) if roots else []


async def everywhere(plane: ControlPlane, what: str, is_right: Callable[[list[x509.Certificate]], bool]) -> None:
    """The roots are so in the namespace's ConfigMap and in the webhook's registration."""
    for look in (mounted, registered):
        await eventually(what, lambda look=look: parsed(look(plane)), is_right)  # type: ignore[misc]


def ask_webhook(plane: ControlPlane, port: int) -> None:
    """As the API server does, which knows it by its registration."""
    context = ssl.create_default_context(cadata=registered(plane).decode())
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        context.wrap_socket(plain, server_hostname=HOST).close()


def replace_by_plugging_in(plane: ControlPlane) -> None:
    root = an_authority("plugged in")
    plug_in(plane, an_authority("signer", root), root)


async def test_a_root_takes_another_ones_place_and_no_connection_fails(plane: ControlPlane, token: str) -> None:
    with a_controller(plane, **FAST) as one, a_controller(plane, **FAST) as two:
        await everywhere(plane, "the first root is told", bool)
        (first,) = parsed(mounted(plane))
        peers = Peers([one.port, two.port], lambda: mounted(plane), token)
        async with peers.busy(), watched_webhooks(plane, (one, two), peers):
            await asyncio.to_thread(replace_by_plugging_in, plane)
            await peers.until("both are trusted", lambda peer: first in peer.roots and len(peer.roots) == 2)
            await everywhere(plane, "both are told", lambda seen: first in seen and len(seen) == 2)
            await peers.until("the other one signs", lambda peer: peer.roots[0] != first)
            await peers.until("the first one is gone", lambda peer: first not in peer.roots)
            await everywhere(plane, "it is gone everywhere", lambda seen: len(seen) == 1 and first not in seen)
        assert (one.process.poll(), two.process.poll()) == (None, None)
    assert peers.failures == []
    assert peers.connections > 100


async def test_deleting_our_own_root_makes_another_that_is_told_before_it_signs(
    plane: ControlPlane, token: str
) -> None:
    with a_controller(plane) as controller:
        await everywhere(plane, "the first root is told", bool)
        (first,) = parsed(mounted(plane))
        plane.kubectl("delete", "secret", "istio-ca-secret", f"--namespace={SYSTEM}")
        await everywhere(plane, "both are told", lambda seen: first in seen and len(seen) == 2)
        peer = Peer()
        await peer.renew(controller.port, mounted(plane), token)
    assert (peer.roots[0], len(peer.roots)) == (first, 2)


@contextlib.asynccontextmanager
async def watched_webhooks(
    plane: ControlPlane, controllers: tuple[Controller, ...], peers: Peers
) -> AsyncIterator[None]:
    """Somebody calls both webhooks all the time; what fails is among the peers' failures."""
    with contextlib.ExitStack() as stack:
        ports = [
            stack.enter_context(relay(Place("127.0.0.1", 0), Place("127.0.0.1", WEBHOOK_PORT, each.name)))
            for each in controllers
        ]

        async def ask() -> None:
            while True:
                for port in ports:
                    try:
                        await asyncio.to_thread(ask_webhook, plane, port)
                    except OSError as exc:
                        peers.failures.append(f"webhook: {exc}")
                await asyncio.sleep(0.1)

        task = asyncio.create_task(ask())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_another_intermediate_of_the_root_signs_at_once_and_no_connection_fails(
    plane: ControlPlane, token: str
) -> None:
    root = an_authority("root")
    first, second = an_authority("first", root), an_authority("second", root)
    plug_in(plane, first, root)
    with a_controller(plane) as controller:
        peers = Peers([controller.port], lambda: pem(root[0]), token)
        async with peers.busy():
            assert all(peer.issuer == key_identifier(first) for peer in peers.members)
            await asyncio.to_thread(plug_in, plane, second, root)
            await peers.until("the second one signs", lambda peer: peer.issuer == key_identifier(second))
    assert peers.failures == []


def key_identifier(issuer: Issuer) -> bytes:
    return issuer[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


async def test_an_authority_that_cannot_be_used_is_told_and_the_last_one_goes_on(
    plane: ControlPlane, token: str
) -> None:
    root = an_authority("root")
    good = an_authority("signer", root)
    plug_in(plane, good, root)
    with a_controller(plane) as controller, debugging(controller) as page:
        plug_in(plane, (good[0], an_authority("another")[1]), root)
        says = "Secret istio-system/cacerts: ca-key.pem is not the key of ca-cert.pem; the last good authority goes on"
        await eventually("it is told", lambda: json.loads(page("/debug/problems")), lambda seen: says in seen)
        assert "\nweft_controller_authority_problems 1.0\n" in page("/metrics")
        peer = Peer()
        await peer.renew(controller.port, pem(root[0]), token)
        assert (peer.issuer, peer.roots) == (key_identifier(good), [root[0]])
        plug_in(plane, good, root)
        await eventually("it is well again", lambda: json.loads(page("/debug/problems")), lambda seen: says not in seen)
        assert "\nweft_controller_authority_problems 0.0\n" in page("/metrics")


@contextlib.contextmanager
def debugging(controller: Controller) -> Iterator[Callable[[str], str]]:
    """What the controller's debug port answers."""
    with relay(Place("127.0.0.1", 0), Place("127.0.0.1", DEBUG_PORT, controller.name)) as port:

        def page(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return str(answer.read().decode())

        yield page


async def test_a_controller_that_starts_anew_goes_on_where_the_change_stands(plane: ControlPlane, token: str) -> None:
    with a_controller(plane) as controller:
        await everywhere(plane, "the first root is told", bool)
        (first,) = parsed(mounted(plane))
        replace_by_plugging_in(plane)
        await everywhere(plane, "both are told", lambda seen: len(seen) == 2)
    with a_controller(plane) as controller:
        peer = Peer()
        await peer.renew(controller.port, pem(first), token)
    assert peer.roots[0] == first
    assert len(peer.roots) == 2
