"""Packets with descriptors over a local seqpacket socket: what the hand-over and the CNI socket are made of."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import KernelError, ProtocolError, UnavailableError

_FD = struct.Struct("i")
_MOST_FDS = 4  # one is allowed; room for more shows who sends too many
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel vouches for it."""

    pid: int
    uid: int


class Packets:
    """A connected socket, from now on non-blocking. Errors of the system become UnavailableError.

    longest: bytes of a packet. name: of the socket, for errors.
    """

    def __init__(self, sock: socket.socket, longest: int, name: str) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._longest = longest
        self._name = name

    def close(self) -> None:
        """Close it; twice is fine."""
        self._sock.close()

    def peer(self) -> Peer:
        raw = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return Peer(pid, uid)

    async def send(self, packet: bytes, fds: list[int]) -> None:
        """Once the other end's queue has room; ProtocolError for a packet that is too long."""
        if len(packet) > self._longest:
            raise ProtocolError(f"message of {len(packet)} bytes; at most {self._longest} fit the protocol")
        while True:
            try:
                socket.send_fds(self._sock, [packet], fds)
                return
            except BlockingIOError:
                await self._ready(asyncio.get_running_loop().add_writer, asyncio.get_running_loop().remove_writer)
            except OSError as exc:
                raise UnavailableError(f"{self._name}: {exc.strerror}") from exc

    async def receive(self) -> tuple[bytes, list[int]]:
        """One packet and its descriptors, which the caller owns; UnavailableError at the end of the connection."""
        while True:
            try:
                # Not socket.recv_fds: until Python 3.12 it forgets its flags, and with them close-on-exec.
                packet, ancillary, flags, _ = self._sock.recvmsg(
                    self._longest, socket.CMSG_LEN(_MOST_FDS * _FD.size), socket.MSG_CMSG_CLOEXEC
                )
                fds = [fd for _, _, data in ancillary for (fd,) in _FD.iter_unpack(data[: len(data) // 4 * 4])]
                break
            except BlockingIOError:
                await self._ready(asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)
            except OSError as exc:
                raise UnavailableError(f"{self._name}: {exc.strerror}") from exc
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            close_all(fds)
            raise ProtocolError(f"packet of more than {self._longest} bytes, or too many descriptors")
        if not packet:
            close_all(fds)
            raise UnavailableError(f"the other end of the {self._name} has gone")
        return packet, fds

    async def _ready(self, arm: Callable[..., None], disarm: Callable[..., object]) -> None:
        ready = asyncio.Event()
        fd = self._sock.fileno()
        arm(fd, ready.set)
        try:
            await ready.wait()
        finally:
            disarm(fd)


def listen(path: Path, backlog: int) -> socket.socket:
    """A listening socket at `path`, in place of a stale one; non-blocking, mode 0600. KernelError when it cannot be."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        sock.bind(os.fspath(path))
        path.chmod(0o600)
    except OSError as exc:
        sock.close()
        raise KernelError(
            f"socket {path} cannot be made: {exc.strerror}; in a container, mount the node's {path.parent} there"
        ) from exc
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that came with a packet."""
    for fd in fds:
        os.close(fd)
