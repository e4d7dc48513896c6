"""The edge to a pod's network namespace: its settings, rules, addresses and sockets.

Everything here acts on the calling thread's namespace; `within` runs it in another's, on a
thread that is used for nothing else and ends with the call, so that no thread ever comes
back from a pod's namespace to other work.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import ForbiddenError, KernelError
from agent.wire import LAST_HOP_TABLE, MARK_LAST_HOP

Result = TypeVar("Result")

# All are 0 or 1. The accepted socket of the app answers with the mark of the SYN, and so does
# the RST of a closed port: both go back over lo. Connections that wait in the queue of a proxy
# which closes go over to its successor (5.14).
SYSCTLS: Final = (
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/fwmark_reflect",
    "net/ipv6/fwmark_reflect",
    "net/ipv4/tcp_migrate_req",
)
_HOST_SETTINGS: Final = Path("/host/proc/sys")  # where the DaemonSet mounts the node's net/
_CLONE_NEWNET: Final = 0x40000000
_NS_GET_NSTYPE: Final = 0xB703
_SO_NETNS_COOKIE: Final = 71
_RT_SCOPE_HOST: Final = 254
_RT_SCOPE_LINK: Final = 253
_RTN_LOCAL: Final = 2
_FR_ACT_TO_TBL: Final = 1
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_REQUEST_DUMP: Final = 0x301
_NLMSG_DONE: Final = 3
_NLMSG_ERROR: Final = 2
_LISTEN_STATE: Final = 1 << 10
_OPEN_STATES: Final = 0xFFF & ~(1 << 6 | 1 << 7 | 1 << 10)  # all but TIME_WAIT, CLOSE, LISTEN
_HEADER: Final = struct.Struct("=IHHII")
_DIAG_REQUEST: Final = struct.Struct("=BBBxI48x")
# struct inet_diag_msg: 4 bytes, struct inet_diag_sockid (idiag_sport first), 20 bytes, attributes.
_DIAG_PORT_OFFSET: Final = 4
_DIAG_INTERFACE_OFFSET: Final = 4 + 36
_DIAG_MESSAGE_SIZE: Final = 4 + 48 + 20
_INET_DIAG_CGROUP_ID: Final = 21
_ATTRIBUTE: Final = struct.Struct("=HH")

_libc = ctypes.CDLL(None, use_errno=True)


async def within(netns: int, call: Callable[[], Result]) -> Result:
    """What `call` returns or raises in the network namespace of that descriptor."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()
    own = os.dup(netns)  # the caller may be cancelled, and close its own, while the thread runs

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            enter(own)
            outcome: tuple[Result | None, BaseException | None] = (call(), None)
        except Exception as exc:  # noqa: BLE001 - handed to whoever waits
            outcome = (None, exc)
        finally:
            os.close(own)
        loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="netns", daemon=True).start()
    return await done


def enter(netns: int) -> None:
    """Move the calling thread to that network namespace, for good."""
    if _libc.setns(netns, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise KernelError(f"cannot enter a pod's network namespace: {os.strerror(number)}; is CAP_SYS_ADMIN missing?")


async def check_sandbox(fd: int, wanted: Sequence[str]) -> None:
    """ForbiddenError unless the descriptor is of a network namespace that has one of these addresses.

    Nor may it be the node's or the agent's own.
    """
    _check_kind(fd)
    found = await within(fd, addresses)
    if not set(wanted) & set(found):
        there = ", ".join(found) or "no address"
        raise ForbiddenError(f"the pod's network namespace has {there}, not {', '.join(wanted)}")


def _check_kind(fd: int) -> None:
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise ForbiddenError("the descriptor is not of a network namespace")
    inode = os.fstat(fd).st_ino
    for pid in ("1", "self"):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == inode:
                raise ForbiddenError("this is the node's network namespace, no pod's")


def cookie() -> int:
    """The network namespace's number, never used twice before a reboot (SO_NETNS_COOKIE, 5.14)."""
    with socket.socket() as sock:
        try:
            raw = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError as exc:
            raise KernelError(f"no netns cookie: {exc.strerror}; the kernel must be 5.15 or newer") from exc
    return int(struct.unpack("=Q", raw)[0])


def addresses() -> tuple[str, ...]:
    """Every address but loopback, those of global scope first."""
    with IPRoute() as netlink:
        found = [
            (message["scope"] >= _RT_SCOPE_LINK, str(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")))
            for message in netlink.get_addr()
            if message["scope"] != _RT_SCOPE_HOST
        ]
    return tuple(dict.fromkeys(address for _, address in sorted(found, key=lambda item: item[0])))


def read_sysctls() -> int:
    """One bit for each of SYSCTLS that is on."""
    return sum(1 << bit for bit, name in enumerate(SYSCTLS) if _read(name))


def write_sysctls(bits: int) -> None:
    """Set each of SYSCTLS to its bit."""
    for bit, name in enumerate(SYSCTLS):
        path = _settings() / name
        if path.exists():  # without IPv6 there is none of its settings
            try:
                path.write_text(str(bits >> bit & 1))
            except OSError as exc:
                raise KernelError(
                    f"cannot write {path}: {exc.strerror}; is /proc/sys read-only? mount the node's at {_HOST_SETTINGS}"
                ) from exc


def _settings() -> Path:
    """Either shows the namespace of the thread that opens a file, but a container's own is read-only."""
    return _HOST_SETTINGS if (_HOST_SETTINGS / "net").exists() else Path("/proc/sys")


ALL_SYSCTLS: Final = (1 << len(SYSCTLS)) - 1


def _read(name: str) -> bool:
    path = Path("/proc/sys") / name
    return path.exists() and path.read_text().strip() != "0"


def add_routing() -> None:
    """Keep replies to the proxy's last hop, which bears a foreign address, on lo. Twice is fine."""
    with IPRoute() as netlink:
        for family in _families():
            _ignoring(errno.EEXIST, functools.partial(netlink.rule, "add", **_rule(family)))
            _ignoring(0, functools.partial(netlink.route, "replace", **_route(netlink, family)))


def remove_routing() -> None:
    """Undo add_routing; what is gone already is fine."""
    with IPRoute() as netlink:
        for family in _families():
            _ignoring(errno.ENOENT, functools.partial(netlink.rule, "delete", **_rule(family)))
            _ignoring(errno.ESRCH, functools.partial(netlink.route, "delete", **_route(netlink, family)))


def _families() -> Sequence[socket.AddressFamily]:
    has_ipv6 = Path("/proc/sys/net/ipv6").exists()
    return (socket.AF_INET, socket.AF_INET6) if has_ipv6 else (socket.AF_INET,)


def _rule(family: socket.AddressFamily) -> dict[str, int]:
    return {
        "family": int(family),
        "fwmark": MARK_LAST_HOP,
        "table": LAST_HOP_TABLE,
        "priority": LAST_HOP_TABLE,
        "action": _FR_ACT_TO_TBL,
    }


def _route(netlink: IPRoute, family: socket.AddressFamily) -> dict[str, object]:
    loopback = netlink.link_lookup(ifname="lo")[0]
    scope = _RT_SCOPE_HOST if family == socket.AF_INET else 0
    return {
        "family": int(family),
        "dst": "0.0.0.0/0" if family == socket.AF_INET else "::/0",
        "oif": loopback,
        "table": LAST_HOP_TABLE,
        "type": _RTN_LOCAL,
        "scope": scope,
    }


def _ignoring(number: int, call: Callable[[], object]) -> None:
    try:
        call()
    except NetlinkError as exc:
        if exc.code == errno.EPERM:
            raise KernelError("rules and routes cannot be changed: not permitted; is CAP_NET_ADMIN missing?") from exc
        if exc.code != number:
            raise KernelError(f"netlink: {exc}") from exc


def last_hops() -> int:
    """How many of the proxy's connections to the app are open: they are bound to lo."""
    return sum(
        struct.unpack_from("=I", message, _DIAG_INTERFACE_OFFSET)[0] == 1
        for family in _families()
        for message in _sockets(family, _OPEN_STATES)
    )


def listeners() -> list[tuple[int, int]]:
    """The port of every listening TCP socket, and the number of the cgroup that it was made in."""
    return [
        (int.from_bytes(message[_DIAG_PORT_OFFSET : _DIAG_PORT_OFFSET + 2], "big"), _cgroup_of(message))
        for family in _families()
        for message in _sockets(family, _LISTEN_STATE)
    ]


def _sockets(family: socket.AddressFamily, states: int) -> Iterator[bytes]:
    """The namespace's TCP sockets in these states, each as a struct inet_diag_msg with its attributes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.bind((0, 0))
        request = _DIAG_REQUEST.pack(family, socket.IPPROTO_TCP, 0, states)
        netlink.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_REQUEST_DUMP, 1, 0) + request)
        while True:
            data = netlink.recv(65536)
            start = 0
            while start < len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, start)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                yield data[start + _HEADER.size : start + length]
                start += _aligned(length)


def _cgroup_of(message: bytes) -> int:
    start = _DIAG_MESSAGE_SIZE
    while start < len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if kind == _INET_DIAG_CGROUP_ID:
            return int(struct.unpack_from("=Q", message, start + _ATTRIBUTE.size)[0])
        start += _aligned(length)
    return 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3
