"""The file system of a container: the machine's root, which stands in for an image.

An overlay per container. Below is the machine's root file system, which stays as it is; above
is a tmpfs of the container's own, for the mount points that the root has not, and for what the
container writes where the manifest lets it. What is mounted on the machine's root (/proc, /sys,
volumes of others) is not in the overlay. Its /run and /tmp are hidden: the sockets there are
the machine's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from agent.errors import KernelError
from agent.kube import Object
from agent.lab.namespaces import unmount
from agent.lab.oci.specification import ROOT

_SCRATCH = "scratch"  # where the tmpfs is, in the bundle: on the machine's root itself, layers would overlap
_SCRATCH_OPTIONS = "mode=0755,size=512m"
_EMPTY = {"run": 0o755, "tmp": 0o1777}
_PASSED = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_OPAQUE = "trusted.overlay.opaque"  # Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"
_libc = ctypes.CDLL(None, use_errno=True)


def mount(bundle: Path, shown: Iterable[Path] = ()) -> None:
    """Mount the root of a container in its bundle. Nothing is left mounted when that fails (KernelError).

    shown: folders that every user of the container reaches, though those above are closed on the machine (/root).
    """
    scratch, root = bundle / _SCRATCH, bundle / ROOT
    upper, work = scratch / "upper", scratch / "work"
    try:
        for folder in (scratch, root):
            folder.mkdir()
        _mount("tmpfs", scratch, _SCRATCH_OPTIONS)
        for folder in (upper, work):
            folder.mkdir(mode=0o755)
        for name, mode in _EMPTY.items():
            (upper / name).mkdir()
            (upper / name).chmod(mode)
            os.setxattr(upper / name, _OPAQUE, b"y")
        for folder in shown:
            _open_way(upper, folder)
        _mount("overlay", root, f"lowerdir=/,upperdir={upper},workdir={work},index=off,metacopy=off,redirect_dir=off")
    except BaseException:
        remove(bundle)
        raise


def remove(bundle: Path) -> None:
    """Unmount what mount() has mounted, in any state of it, and remove the mount points."""
    for folder in (bundle / ROOT, bundle / _SCRATCH):
        unmount(folder)
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def separate_mounts(mountinfo: str, shown: Iterable[Path]) -> list[Object]:
    """OCI mounts that show, read-only, the `shown` folders where the overlay has them not: what holds one, or is in
    one, on another file system than the machine's root, and those in a hidden folder."""
    folders = list(shown)
    hidden = [folder for folder in folders if _is_hidden(folder)]
    targets = [Path(_unescaped(line.split(" ")[4])) for line in mountinfo.splitlines()]
    separate = [
        target
        for target in dict.fromkeys(targets)
        if target != Path("/")
        and any(target.is_relative_to(folder) or folder.is_relative_to(target) for folder in folders)
        and not (_is_hidden(target) and any(folder.is_relative_to(target) for folder in hidden))
    ]
    return [
        {"destination": str(target), "type": "bind", "source": str(target), "options": ["bind", "ro", "rprivate"]}
        for target in [*hidden, *separate]
    ]


def _open_way(upper: Path, folder: Path) -> None:
    """Lay folders as the machine's above it, but that all may pass, over those."""
    for above in [] if _is_hidden(folder) else reversed(folder.parents):
        laid, found = upper / above.relative_to("/"), above.stat()
        laid.mkdir(exist_ok=True)
        laid.chmod(stat.S_IMODE(found.st_mode) | _PASSED)
        os.chown(laid, found.st_uid, found.st_gid)


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(Path("/", name)) for name in _EMPTY)


def _mount(kind: str, target: Path, options: str) -> None:
    if _libc.mount(kind.encode(), bytes(target), kind.encode(), 0, options.encode()) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelError(f"mount {kind} on {target}: {reason}; containers need root with CAP_SYS_ADMIN, and {kind}")


def _unescaped(text: str) -> str:
    """Space, tab, newline and backslash are octal in mountinfo."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)
