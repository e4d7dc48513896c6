"""What a pod lives in: a network namespace, cgroups, its files, and a process that holds them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.api.objects import NamedObject
from agent.errors import KernelError
from agent.lab import cgroups, commands, network
from agent.lab.addresses import NodePlan, Pair
from agent.lab.layout import PAUSE, Layout
from agent.lab.record import Ledger


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's sandbox that stands; remove() takes it away."""

    folder: Path
    cgroup: Path
    netns: str
    address: Pair
    node: NodePlan
    pause: asyncio.subprocess.Process
    is_network_own: bool = True  # else it is its node's

    @property
    def pause_pid(self) -> int:
        return self.pause.pid

    def container_cgroup(self, container: str) -> Path:
        return self.cgroup / container

    def write_hosts(self, text: str) -> None:
        """Replace the pod's /etc/hosts in place: the mount follows the inode, not the name."""
        rewrite(self.folder / "hosts", text)


async def create(
    layout: Layout,
    ledger: Ledger,
    node: NodePlan,
    pod: NamedObject,
    address: Pair | None,
    resolv_conf: str,
    containers: Iterable[str] = (),
) -> Sandbox:
    """Build the sandbox of a pod; nothing of it is left when that fails.

    address: None for a pod that shares its node's network. containers: those that need a cgroup made for them.
    """
    uid = pod.metadata.uid
    folder, cgroup = layout.pod(uid), layout.pod_cgroup(node.name, uid)
    netns = layout.netns(node.name) if address is None else layout.pod_netns(uid)
    try:
        folder.mkdir(parents=True)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        (folder / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (folder / "resolv.conf").write_text(resolv_conf)
        for name in (PAUSE, *containers):
            cgroups.create(cgroup / name)
        if address is not None:
            ledger.create_netns(netns)
            node_netns = layout.netns(node.name)
            await asyncio.to_thread(network.join_pod, node_netns, node, netns, f"pod{uid[:8]}", address)
        hostname = pod.metadata.name if address is not None else node.name
        line = commands.pause(netns, cgroup / PAUSE, folder / "hosts", folder / "resolv.conf", hostname)
        pause = await _started(line)
    except BaseException:
        await asyncio.to_thread(_remove, cgroup, folder)
        if address is not None and netns in ledger.record.netns:  # else the name is somebody else's
            ledger.delete_netns(netns)
        raise
    return Sandbox(folder, cgroup, netns, address or node.address, node, pause, address is not None)


async def remove(sandbox: Sandbox, ledger: Ledger) -> None:
    """Kill what still runs in the sandbox and take all of it away."""
    await asyncio.to_thread(_remove, sandbox.cgroup, sandbox.folder)
    await sandbox.pause.wait()
    if sandbox.is_network_own:
        ledger.delete_netns(sandbox.netns)


def rewrite(path: Path, text: str) -> None:
    """Write a file without changing its inode, and only when it says something else. At no time is it empty."""
    with contextlib.suppress(FileNotFoundError), path.open("r+") as file:
        if file.read() != text:
            file.seek(0)
            file.write(text)
            file.truncate()


async def _started(line: list[str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *line, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    )
    if process.stdout is None or process.stderr is None:
        raise KernelError("pause: no pipes")
    if await process.stdout.readline() != commands.READY:
        reason = (await process.stderr.read()).decode(errors="replace").strip()
        raise KernelError(f"cannot prepare the pod's namespaces: {reason}")
    return process


def _remove(cgroup: Path, folder: Path) -> None:
    cgroups.remove(cgroup)
    shutil.rmtree(folder, ignore_errors=True)
