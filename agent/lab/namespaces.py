"""Named network namespaces, kept where iproute2 keeps them (/run/netns)."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.errors import ConflictError, KernelError, NotFoundError
from agent.lab.layout import NETNS, netns_path

T = TypeVar("T")

MOUNTINFO = Path("/proc/self/mountinfo")
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def create(name: str) -> None:
    """Make a namespace and keep it under its name; ConflictError when the name is taken."""
    NETNS.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = netns_path(name)
    try:
        path.open("x").close()
    except FileExistsError as exc:
        raise ConflictError(f"{path} exists already and is not this lab's; see `ip netns`") from exc
    try:
        _on_own_thread(lambda: _new_namespace_at(path))
    except BaseException:
        path.unlink()
        raise


def delete(name: str) -> None:
    """Remove the name; the namespace goes when its last process has. Nothing happens without it."""
    path = netns_path(name)
    # Lazily, and unlink even when nothing is mounted: a crash may have come between the two.
    _libc.umount2(bytes(path), _MNT_DETACH)
    path.unlink(missing_ok=True)


def inside(name: str, work: Callable[[], T]) -> T:
    """Run a function in the namespace, on a thread that ends with it; NotFoundError without the namespace."""
    try:
        netns = os.open(netns_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise NotFoundError(f"network namespace {name} does not exist") from exc

    def enter_and_work() -> T:
        _check(_libc.setns(netns, _CLONE_NEWNET), f"setns {name}")
        return work()

    try:
        return _on_own_thread(enter_and_work)
    finally:
        os.close(netns)


def _new_namespace_at(path: Path) -> None:
    _check(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")
    _check(_libc.mount(b"/proc/thread-self/ns/net", bytes(path), b"none", _MS_BIND, None), f"mount {path}")


def mount_bpf(path: Path) -> None:
    """A bpffs of its own at an existing folder."""
    _check(_libc.mount(b"bpf", bytes(path), b"bpf", 0, b"mode=0700"), f"mount bpf on {path}")


def mount_tmpfs(path: Path, most_bytes: int | None = None) -> None:
    """Files in memory at an existing folder; None: up to half of the machine's memory."""
    options = "mode=0777" if most_bytes is None else f"mode=0777,size={most_bytes}"
    _check(_libc.mount(b"tmpfs", bytes(path), b"tmpfs", 0, options.encode()), f"mount tmpfs on {path}")


def mounts_below(folder: Path) -> list[Path]:
    """What is mounted in a folder and below it, the deepest first."""
    mounts = [Path(line.split()[4]) for line in MOUNTINFO.read_text().splitlines()]
    found = [path for path in mounts if path.is_relative_to(folder)]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def unmount(path: Path) -> None:
    """Unmount lazily; nothing happens when nothing is mounted there."""
    _libc.umount2(bytes(path), _MNT_DETACH)


def _check(result: int, call: str) -> None:
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelError(f"{call}: {reason}; the lab needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN")


def _on_own_thread(work: Callable[[], T]) -> T:
    """The thread's namespace cannot be trusted afterwards, so it ends with the call."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - handed to the caller
            failures.append(exc)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
