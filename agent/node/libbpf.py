"""The edge to bpf(2): the few calls of libbpf that the agent needs, by ctypes.

libbpf.so.1 takes care of system call numbers and struct bpf_attr. It never loads LLVM, so
that the resident agent stays small. Descriptors that are returned belong to the caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import KernelError, NotFoundError

ANY: Final = 0
NO_EXIST: Final = 1
_MAP_INFO = struct.Struct("=6I16s")  # struct bpf_map_info: type, id, key, value, entries, flags, name
_LINK_INFO = struct.Struct("=3I4xQ")  # struct bpf_link_info: type, id, program id; union at 16
_INFO_BYTES = 256


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as exc:
        raise KernelError("libbpf.so.1 cannot be loaded; is the package libbpf1 installed?") from exc


def _call(name: str, *arguments: object) -> int:
    """What the function returns; its negative results become OSError."""
    result = int(getattr(_library(), name)(*arguments))
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _advice(error: OSError, otherwise: str) -> str:
    return "is CAP_SYS_ADMIN missing?" if error.errno == errno.EPERM else otherwise


def open_pinned(path: Path) -> int:
    """A descriptor of the object pinned there. NotFoundError when nothing is."""
    try:
        return _call("bpf_obj_get", os.fsencode(path))
    except FileNotFoundError as exc:
        raise NotFoundError(f"{path}: nothing is pinned there") from exc
    except OSError as exc:
        raise KernelError(f"{path}: cannot be opened: {exc}; {_advice(exc, 'is it on a BPF file system?')}") from exc


@contextlib.contextmanager
def pinned(path: Path) -> Iterator[int]:
    """open_pinned for the length of a block."""
    fd = open_pinned(path)
    try:
        yield fd
    finally:
        os.close(fd)


def pin(fd: int, path: Path) -> None:
    """Pin in place of what is pinned there, without a moment of absence."""
    temporary = path.with_name(path.name + "_new")
    temporary.unlink(missing_ok=True)
    try:
        _call("bpf_obj_pin", fd, os.fsencode(temporary))
        temporary.rename(path)
    except OSError as exc:
        raise KernelError(f"cannot pin {path}: {exc}; {_advice(exc, 'is a BPF file system mounted there?')}") from exc


def create_link(program: int, target: int, attach: int) -> int:
    """Attach a program to a cgroup's or a network namespace's descriptor."""
    try:
        return _call("bpf_link_create", program, target, ctypes.c_int(attach), None)
    except OSError as exc:
        raise KernelError(f"cannot attach a program (attach type {attach}): {exc}") from exc


def update_link(link: int, program: int) -> None:
    """Replace the link's program; there is no moment without one."""
    try:
        _call("bpf_link_update", link, program, None)
    except OSError as exc:
        raise KernelError(f"cannot replace an attached program: {exc}") from exc


def detach_link(link: int) -> None:
    """Detach it whoever else holds it; a link whose cgroup or namespace is gone is detached already."""
    with contextlib.suppress(OSError):
        _call("bpf_link_detach", link)


def _info(fd: int) -> bytes:
    buffer = ctypes.create_string_buffer(_INFO_BYTES)
    length = ctypes.c_uint32(_INFO_BYTES)
    try:
        _call("bpf_obj_get_info_by_fd", fd, buffer, ctypes.byref(length))
    except OSError as exc:
        raise KernelError(f"cannot read about a BPF object: {exc}") from exc
    return buffer.raw


def map_shape(fd: int) -> tuple[int, int, int, int]:
    """Type, key bytes, value bytes, most entries."""
    kind, _, key_bytes, value_bytes, entries, _, _ = _MAP_INFO.unpack_from(_info(fd))
    return kind, key_bytes, value_bytes, entries


def linked_program(link: int) -> int:
    """The id of the program that the link runs."""
    return int(_LINK_INFO.unpack_from(_info(link))[2])


def is_loaded(program: int) -> bool:
    """Whether the kernel still has the program of this id."""
    try:
        os.close(_call("bpf_prog_get_fd_by_id", program))
    except FileNotFoundError:
        return False
    return True


def linked_cgroup(link: int) -> int:
    """The id of the cgroup that a cgroup link is attached to; 0 when that is gone."""
    return int(_LINK_INFO.unpack_from(_info(link))[3])


def linked_netns(link: int) -> int:
    """The inode of the namespace that a netns link is attached to; 0 when that is gone."""
    return int(_LINK_INFO.unpack_from(_info(link))[3]) & 0xFFFFFFFF


class Map:
    """A pinned map. Close it; twice is fine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = open_pinned(path)
        _, self.key_bytes, self.value_bytes, _ = map_shape(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        """The value, or None."""
        value = ctypes.create_string_buffer(self.value_bytes)
        try:
            _call("bpf_map_lookup_elem", self._fd, self._checked(key, self.key_bytes), value)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise KernelError(f"{self._path}: {exc}") from exc
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> bool:
        """Store it. False when `flags` is NO_EXIST and the key is there."""
        try:
            _call(
                "bpf_map_update_elem",
                self._fd,
                self._checked(key, self.key_bytes),
                self._checked(value, self.value_bytes),
                ctypes.c_uint64(flags),
            )
        except FileExistsError:
            return False
        except OSError as exc:
            raise KernelError(f"{self._path}: {exc}; E2BIG means that it is full") from exc
        return True

    def delete(self, key: bytes) -> None:
        """Remove it; it need not be there."""
        try:
            _call("bpf_map_delete_elem", self._fd, self._checked(key, self.key_bytes))
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise KernelError(f"{self._path}: {exc}") from exc

    def keys(self) -> list[bytes]:
        """All keys at some moment. Only the agent writes the maps that it lists."""
        found: list[bytes] = []
        following = ctypes.create_string_buffer(self.key_bytes)
        key: bytes | None = None
        while True:
            try:
                _call("bpf_map_get_next_key", self._fd, key, following)
            except FileNotFoundError:
                return found
            except OSError as exc:
                raise KernelError(f"{self._path}: {exc}") from exc
            key = following.raw
            found.append(key)

    def _checked(self, data: bytes, size: int) -> bytes:
        # The kernel reads that many bytes, whatever is there.
        if len(data) != size:
            raise KernelError(f"{self._path}: {len(data)} bytes where the map has {size}")
        return data
