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
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError

from agent.errors import ProtocolError, UnavailableError
from agent.model import PodUid
from agent.proto import zds_pb2

MESSAGE_BYTES = 1024
DEADLINE_SECONDS = 5.0
Result = TypeVar("Result")
_FD = struct.Struct("i")
_MOST_FDS = 4  # one is allowed; room for more shows who sends too many
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


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


class _Packets:
    """Packets with descriptors over a non-blocking seqpacket socket. Errors of the system become UnavailableError."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def close(self) -> None:
        """Close it; twice is fine."""
        self._sock.close()

    async def _send(self, packet: bytes, fds: list[int]) -> None:
        if len(packet) > MESSAGE_BYTES:
            raise ProtocolError(f"message of {len(packet)} bytes; at most {MESSAGE_BYTES} fit the protocol")
        while True:
            try:
                socket.send_fds(self._sock, [packet], fds)
                return
            except BlockingIOError:
                await self._ready(asyncio.get_running_loop().add_writer, asyncio.get_running_loop().remove_writer)
            except OSError as exc:
                raise UnavailableError(f"hand-over socket: {exc.strerror}") from exc

    async def _receive(self) -> tuple[bytes, list[int]]:
        """One packet and its descriptors, which the caller owns; UnavailableError at the end of the connection."""
        while True:
            try:
                # Not socket.recv_fds: until Python 3.12 it forgets its flags, and with them close-on-exec.
                packet, ancillary, flags, _ = self._sock.recvmsg(
                    MESSAGE_BYTES, socket.CMSG_LEN(_MOST_FDS * _FD.size), socket.MSG_CMSG_CLOEXEC
                )
                fds = [fd for _, _, data in ancillary for (fd,) in _FD.iter_unpack(data[: len(data) // 4 * 4])]
                break
            except BlockingIOError:
                await self._ready(asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)
            except OSError as exc:
                raise UnavailableError(f"hand-over socket: {exc.strerror}") from exc
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            _close_all(fds)
            raise ProtocolError(f"packet of more than {MESSAGE_BYTES} bytes, or too many descriptors")
        if not packet:
            _close_all(fds)
            raise UnavailableError("the other end of the hand-over socket has gone")
        return packet, fds

    async def _ready(self, arm: Callable[..., None], disarm: Callable[..., object]) -> None:
        ready = asyncio.Event()
        fd = self._sock.fileno()
        arm(fd, ready.set)
        try:
            await ready.wait()
        finally:
            disarm(fd)


class ProxyEnd(_Packets):
    """The node proxy's end: connect, then receive and acknowledge in turn."""

    @classmethod
    async def connect(cls, path: Path) -> ProxyEnd:
        """Connected and past the hello; UnavailableError while no agent listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Not to block on an agent whose queue of connections is full: that is EAGAIN, try again later.
            sock.setblocking(False)
            sock.connect(os.fspath(path))
            end = cls(sock)
            await end._send(zds_pb2.ZdsHello(version=zds_pb2.V1).SerializeToString(), [])
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
        packet, fds = await self._receive()
        try:
            return _request(packet, fds)
        except (DecodeError, ProtocolError) as exc:
            _close_all(fds)
            raise ProtocolError(f"request of the node agent: {exc}") from exc

    async def acknowledge(self, error: str = "") -> None:
        """Answer the request received last; `error` says why it could not be done."""
        # The text is cut so that the message fits a packet, whatever its characters take.
        text = error.encode()[: MESSAGE_BYTES - 64].decode(errors="ignore")
        await self._send(zds_pb2.WorkloadResponse(ack=zds_pb2.Ack(error=text)).SerializeToString(), [])


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


class AgentEnd(_Packets):
    """The node agent's end: one accepted connection of a proxy."""

    def peer_process(self) -> int:
        """The pid of the connecting proxy, as the kernel vouches for it."""
        raw = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, _, _ = _CREDENTIALS.unpack(raw)
        return int(pid)

    async def hello(self) -> None:
        """Wait for the proxy's hello; ProtocolError when it speaks another version or none."""
        packet, fds = await self._in_time(self._receive())
        _close_all(fds)
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
        await self._in_time(self._send(packet, fds))
        answer, received = await self._in_time(self._receive())
        _close_all(received)
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
            _, fds = await self._receive()
        except UnavailableError:
            return
        _close_all(fds)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(os.fspath(path))
    path.chmod(0o600)
    sock.listen(8)
    sock.setblocking(False)
    return sock


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
