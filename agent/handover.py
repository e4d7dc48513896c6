"""The pod hand-over protocol, both ends: how a node agent gives pods to a node proxy.

AF_UNIX SOCK_SEQPACKET; one protobuf message a packet, at most 1024 bytes. The proxy
connects and says hello; the agent sends requests, each answered by one acknowledgement
before the next (never two outstanding): the pods that exist (add, or keep when only its uid
is known), snapshot_sent, then additions and deletions as they come. An addition carries the
pod's network namespace as exactly one file descriptor. Istio's names and numbers.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError

from agent import packets
from agent.errors import ProtocolError, UnavailableError
from agent.model import PodUid
from agent.packets import Packets, close_all
from agent.proto import zds_pb2

MESSAGE_BYTES = 1024
DEADLINE_SECONDS = 5.0
Result = TypeVar("Result")
_NAME = "hand-over socket"


@dataclass(frozen=True, slots=True)
class AddPod:
    """Serve this pod. The receiver owns `netns` and closes it."""

    uid: PodUid
    name: str
    namespace: str
    service_account: str
    netns: int


@dataclass(frozen=True, slots=True)
class KeepPod:
    """The agent started again and knows only the uid: go on serving it."""

    uid: PodUid


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Stop serving this pod."""

    uid: PodUid


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """All pods that exist have been named: drop any other."""


Request = AddPod | KeepPod | DeletePod | SnapshotSent


class ProxyEnd:
    """The node proxy's end: connect, then receive and acknowledge in turn."""

    def __init__(self, sock: socket.socket) -> None:
        self._packets = Packets(sock, MESSAGE_BYTES, _NAME)

    def close(self) -> None:
        """Close it; twice is fine."""
        self._packets.close()

    @classmethod
    async def connect(cls, path: Path) -> ProxyEnd:
        """Connected and past the hello; UnavailableError while no agent listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Not to block on an agent whose queue of connections is full: that is EAGAIN, try again later.
            sock.setblocking(False)
            sock.connect(os.fspath(path))
            end = cls(sock)
            await end._packets.send(zds_pb2.ZdsHello(version=zds_pb2.V1).SerializeToString(), [])
        except OSError as exc:
            sock.close()
            reason = exc.strerror or str(exc)
            raise UnavailableError(f"hand-over socket {path}: {reason}; is the node agent running?") from exc
        except BaseException:
            sock.close()
            raise
        return end

    async def receive(self) -> Request:
        """The next request, whenever it comes; acknowledge it before the next call."""
        packet, fds = await self._packets.receive()
        try:
            return _request(packet, fds)
        except (DecodeError, ProtocolError) as exc:
            close_all(fds)
            raise ProtocolError(f"request of the node agent: {exc}") from exc

    async def acknowledge(self, error: str = "") -> None:
        """Answer the request received last; `error` says why it could not be done."""
        # The text is cut so that the message fits a packet, whatever its characters take.
        text = error.encode()[: MESSAGE_BYTES - 64].decode(errors="ignore")
        await self._packets.send(zds_pb2.WorkloadResponse(ack=zds_pb2.Ack(error=text)).SerializeToString(), [])


def _request(packet: bytes, fds: list[int]) -> Request:
    message = zds_pb2.WorkloadRequest.FromString(packet)
    kind = message.WhichOneof("payload")
    if len(fds) != (kind == "add"):
        raise ProtocolError(f"{kind} came with {len(fds)} descriptors")
    match kind:
        case "add":
            if not message.add.HasField("workload_info"):
                raise ProtocolError("add without workload_info")
            info = message.add.workload_info
            return AddPod(PodUid(message.add.uid), info.name, info.namespace, info.service_account, fds[0])
        case "keep":
            return KeepPod(PodUid(message.keep.uid))
        case "del":
            return DeletePod(PodUid(getattr(message, "del").uid))
        case "snapshot_sent":
            return SnapshotSent()
        case _:
            raise ProtocolError("request of a kind that this version does not know")


class AgentEnd:
    """The node agent's end: one accepted connection of a proxy."""

    def __init__(self, sock: socket.socket) -> None:
        self._packets = Packets(sock, MESSAGE_BYTES, _NAME)

    def close(self) -> None:
        """Close it; twice is fine."""
        self._packets.close()

    def peer_process(self) -> int:
        """The pid of the connecting proxy, as the kernel vouches for it."""
        return self._packets.peer().pid

    async def hello(self) -> None:
        """Wait for the proxy's hello; ProtocolError when it speaks another version or none."""
        packet, fds = await self._in_time(self._packets.receive())
        close_all(fds)
        try:
            version = zds_pb2.ZdsHello.FromString(packet).version
        except DecodeError as exc:
            raise ProtocolError("hello of the proxy cannot be read") from exc
        if version != zds_pb2.V1:
            raise ProtocolError(f"the proxy speaks version {version} of the hand-over protocol; accepted is 1")

    async def request(self, request: Request) -> str:
        """Send one request and wait for its acknowledgement: "" when done, else the proxy's reason.

        Raises UnavailableError when the proxy is gone or takes more than DEADLINE_SECONDS.
        The descriptor of an addition stays the caller's.
        """
        packet, fds = _packet(request)
        await self._in_time(self._packets.send(packet, fds))
        answer, received = await self._in_time(self._packets.receive())
        close_all(received)
        try:
            response = zds_pb2.WorkloadResponse.FromString(answer)
        except DecodeError as exc:
            raise ProtocolError("acknowledgement of the proxy cannot be read") from exc
        if response.WhichOneof("payload") != "ack":
            raise ProtocolError("the proxy answered with something else than an acknowledgement")
        return response.ack.error

    async def closed(self) -> None:
        """Return when the proxy has gone. Only between requests: anything it says unasked is a ProtocolError."""
        try:
            _, fds = await self._packets.receive()
        except UnavailableError:
            return
        close_all(fds)
        raise ProtocolError("the proxy spoke unasked")

    async def _in_time(self, step: Coroutine[None, None, Result]) -> Result:
        try:
            return await asyncio.wait_for(step, DEADLINE_SECONDS)
        except TimeoutError as exc:
            raise UnavailableError(f"the proxy did not answer within {DEADLINE_SECONDS:g} s") from exc


def _packet(request: Request) -> tuple[bytes, list[int]]:
    message = zds_pb2.WorkloadRequest()
    fds = []
    match request:
        case AddPod(uid, name, namespace, service_account, netns):
            message.add.uid = uid
            message.add.workload_info.name = name
            message.add.workload_info.namespace = namespace
            message.add.workload_info.service_account = service_account
            fds = [netns]
        case KeepPod(uid):
            message.keep.uid = uid
        case DeletePod(uid):
            getattr(message, "del").uid = uid
        case SnapshotSent():
            message.snapshot_sent.SetInParent()
    return message.SerializeToString(), fds


def listen(path: Path) -> socket.socket:
    """A listening hand-over socket at `path`, in place of a stale one; non-blocking, mode 0600."""
    return packets.listen(path, backlog=8)
