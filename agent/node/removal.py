"""Uninstalling from a node: pods return to plain networking, nothing is left in the kernel."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from pathlib import Path

from agent import kube
from agent.errors import ConflictError, NotFoundError, WeftError
from agent.kube import Cluster
from agent.node import cgroups, layout, netns
from agent.node.inventory import read_pod
from agent.node.layout import PodEntry
from agent.node.redirect import Redirection, remove_pins
from agent.wire import REDIRECTION_ANNOTATION

logger = logging.getLogger(__name__)


async def remove_everything(pin_directory: Path, cgroup_root: Path, cluster: Cluster) -> None:
    """Undo all that agents of any version left on the node. Stop the agent first; twice is fine.

    Redirection ends before steering and before the links go, so that a pod's connections
    fail at no point; the proxy, which is not asked here, must end after this.
    """
    entries = _known(pin_directory / layout.VERSION)
    await _remove_annotations({entry.uid for entry in entries.values()}, cluster)
    _remove_layouts(pin_directory)
    for entry in entries.values():
        await _restore(entry, cgroup_root)


def _remove_layouts(pin_directory: Path) -> None:
    if pin_directory.exists():
        for directory in sorted(path for path in pin_directory.iterdir() if path.is_dir()):
            remove_pins(directory)
        with contextlib.suppress(OSError):  # it is a mount, or holds what is not ours
            pin_directory.rmdir()


def _known(directory: Path) -> dict[int, PodEntry]:
    if not (directory / "maps" / "pods").exists():
        return {}
    with contextlib.closing(Redirection(directory)) as kernel:
        entries = kernel.pods()
        for cookie in entries:
            kernel.set_flags(cookie, 0)
        return entries


async def _remove_annotations(uids: set[str], cluster: Cluster) -> None:
    patch = {"metadata": {"annotations": {REDIRECTION_ANNOTATION: None}}}
    try:
        for pod in map(read_pod, await cluster.list(kube.POD)):
            if pod.uid in uids:
                with contextlib.suppress(NotFoundError, ConflictError):
                    await cluster.patch(kube.POD, pod.namespace, pod.name, patch, uid=pod.uid)
    except WeftError as exc:
        logger.warning("annotations stay, the cluster is away", extra={"reason": exc})


async def _restore(entry: PodEntry, cgroup_root: Path) -> None:
    """Rules and settings of a pod's namespace; without a process it is gone, and they with it."""
    with contextlib.suppress(WeftError):
        fd = cgroups.open_netns(entry.uid, cgroup_root)
        try:
            await netns.within(fd, netns.remove_routing)
            await netns.within(fd, functools.partial(netns.write_sysctls, entry.sysctls))
        finally:
            os.close(fd)
