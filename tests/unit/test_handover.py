import asyncio
import dataclasses
import os
import socket
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from agent.errors import ProtocolError, UnavailableError
from agent.handover import (
    MESSAGE_BYTES,
    AddPod,
    AgentEnd,
    DeletePod,
    KeepPod,
    ProxyEnd,
    Request,
    SnapshotSent,
    listen,
)
from agent.model import PodUid
from agent.proto import zds_pb2

Ends = tuple[ProxyEnd, AgentEnd]
Result = TypeVar("Result")


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    proxy, agent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with proxy, agent:
        yield proxy, agent


@pytest.fixture
def ends(sockets: tuple[socket.socket, socket.socket]) -> Ends:
    return ProxyEnd(sockets[0]), AgentEnd(sockets[1])


async def in_time(step: Awaitable[Result]) -> Result:
    return await asyncio.wait_for(step, 5)


async def exchanged(ends: Ends, request: Request, error: str = "") -> tuple[Request, str]:
    proxy, agent = ends

    async def answer() -> Request:
        received = await proxy.receive()
        await proxy.acknowledge(error)
        return received

    received, text = await in_time(asyncio.gather(answer(), agent.request(request)))
    return received, text


@pytest.mark.parametrize("request_", [KeepPod(PodUid("1")), DeletePod(PodUid("1")), SnapshotSent()], ids=str)
async def test_a_request_arrives_and_its_answer_comes_back(ends: Ends, request_: Request) -> None:
    assert await exchanged(ends, request_, "no such pod") == (request_, "no such pod")
    assert await exchanged(ends, request_) == (request_, "")


async def test_an_addition_brings_the_network_namespace(ends: Ends) -> None:
    reader, writer = os.pipe()
    sent = AddPod(PodUid("1"), "web-1", "shop", "web", reader)
    received, _ = await exchanged(ends, sent)
    assert isinstance(received, AddPod)
    try:
        assert os.fstat(received.netns).st_ino == os.fstat(reader).st_ino
        assert not os.get_inheritable(received.netns)
        assert dataclasses.replace(received, netns=reader) == sent
    finally:
        for fd in (reader, writer, received.netns):
            os.close(fd)


async def test_two_descriptors_break_the_protocol(sockets: tuple[socket.socket, socket.socket]) -> None:
    message = zds_pb2.WorkloadRequest()
    message.add.workload_info.name = "web-1"
    socket.send_fds(sockets[1], [message.SerializeToString()], [0, 0])
    with pytest.raises(ProtocolError, match="add came with 2 descriptors"):
        await in_time(ProxyEnd(sockets[0]).receive())


async def test_a_long_reason_is_cut_to_fit_a_packet(ends: Ends) -> None:
    _, text = await exchanged(ends, SnapshotSent(), "ä" * MESSAGE_BYTES)
    assert text == "ä" * ((MESSAGE_BYTES - 64) // 2)


async def test_a_request_that_does_not_fit_a_packet_is_not_sent(ends: Ends) -> None:
    with pytest.raises(ProtocolError, match="at most 1024"):
        await in_time(ends[1].request(KeepPod(PodUid("x" * MESSAGE_BYTES))))


async def test_an_addition_without_a_descriptor_breaks_the_protocol(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    message = zds_pb2.WorkloadRequest()
    message.add.workload_info.name = "web-1"
    sockets[1].send(message.SerializeToString())
    with pytest.raises(ProtocolError, match="add came with 0 descriptors"):
        await in_time(ProxyEnd(sockets[0]).receive())


async def test_descriptors_of_a_broken_request_are_closed(sockets: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = os.pipe()
    message = zds_pb2.WorkloadRequest()
    message.keep.uid = "1"
    socket.send_fds(sockets[1], [message.SerializeToString()], [writer])
    os.close(writer)
    with pytest.raises(ProtocolError, match="keep came with 1 descriptors"):
        await in_time(ProxyEnd(sockets[0]).receive())
    assert os.read(reader, 1) == b""  # the end: nobody holds the writing side any more
    os.close(reader)


async def test_a_packet_that_is_no_request_breaks_the_protocol(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[1].send(b"\xff\xff")
    with pytest.raises(ProtocolError):
        await in_time(ProxyEnd(sockets[0]).receive())


async def test_a_packet_that_is_too_long_breaks_the_protocol(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[1].send(b"x" * (MESSAGE_BYTES + 1))
    with pytest.raises(ProtocolError, match="more than 1024"):
        await in_time(ProxyEnd(sockets[0]).receive())


async def test_an_end_that_goes_away_is_unavailable(ends: Ends) -> None:
    proxy, agent = ends
    agent.close()
    with pytest.raises(UnavailableError):
        await in_time(proxy.receive())


async def test_the_agent_notices_that_the_proxy_has_gone(ends: Ends) -> None:
    proxy, agent = ends
    proxy.close()
    await in_time(agent.closed())


async def test_a_proxy_that_speaks_unasked_breaks_the_protocol(ends: Ends) -> None:
    proxy, agent = ends
    await proxy.acknowledge()
    with pytest.raises(ProtocolError, match="unasked"):
        await in_time(agent.closed())


async def test_a_proxy_of_another_version_is_refused(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[0].send(zds_pb2.ZdsHello(version=zds_pb2.NOT_USED).SerializeToString() or b"\x08\x00")
    with pytest.raises(ProtocolError, match="version 0"):
        await in_time(AgentEnd(sockets[1]).hello())


def test_the_kernel_vouches_for_the_peer(ends: Ends) -> None:
    assert ends[1].peer_process() == os.getpid()


async def test_connects_with_a_hello(tmp_path: Path) -> None:
    path = tmp_path / "run" / "z.sock"
    with listen(path) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        proxy = await in_time(ProxyEnd.connect(path))
        accepted, _ = await in_time(asyncio.get_running_loop().sock_accept(listener))
        agent = AgentEnd(accepted)
        await agent.hello()
        agent.close()
        proxy.close()


async def test_no_agent_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is the node agent running"):
        await ProxyEnd.connect(tmp_path / "z.sock")
    with pytest.raises(UnavailableError, match="too long"):
        await ProxyEnd.connect(tmp_path / ("x" * 200))
