"""The files of a lab's node: what a manifest calls a path of the host. One machine holds several nodes."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.api.pods.volumes import HostPath, HostPathType
from agent.errors import NotFoundError
from agent.lab.layout import Layout

_CHECKS: Mapping[str, Callable[[int], bool]] = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


def of_node(layout: Layout, node: str, path: str) -> Path:
    """Where a node has a path: below its own root, but for what the kernel shows each node a part of."""
    views = {
        "/sys/fs/cgroup": layout.node_cgroup(node),
        "/sys/fs/bpf": layout.bpf / node,
        "/proc": Path("/proc"),
    }
    for top, place in views.items():
        if path == top or path.startswith(f"{top}/"):
            return place / path[len(top) :].lstrip("/")
    return layout.node_root(node) / path.lstrip("/")


def host_path(layout: Layout, node: str, source: HostPath) -> Path:
    """The file or folder behind a hostPath, made if its type says so; NotFoundError when it is not what it must be."""
    path = of_node(layout, node, source.path)
    if source.type == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif source.type == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    elif source.type == "" and not path.exists():
        path.mkdir(parents=True)  # as a container runtime does
    _check(path, source.path, source.type, node)
    return path


def _check(path: Path, said: str, type: HostPathType, node: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise NotFoundError(f"hostPath {said}: {exc.strerror} on {node}; accepted is type {type or 'any'}") from exc
    if type and not _CHECKS[type](mode):
        raise NotFoundError(f"hostPath {said}: it is there on {node}, but is no {type.removesuffix('OrCreate')}")
