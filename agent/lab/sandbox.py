"""What a pod lives in: a network namespace, cgroups, its files, and a process that holds them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from agent.api.kubernetes import Pod
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

    @property
    def pause_pid(self) -> int:
        return self.pause.pid

    def container_cgroup(self, container: str) -> Path:
        return self.cgroup / container

    def write_hosts(self, text: str) -> None:
        """Replace the pod's /etc/hosts in place: the mount follows the inode, not the name."""
        rewrite(self.folder / "hosts", text)


async def create(layout: Layout, ledger: Ledger, node: NodePlan, pod: Pod, address: Pair, resolv_conf: str) -> Sandbox:
    """Build the sandbox of a pod; nothing of it is left when that fails."""
    uid = pod.metadata.uid
    folder, cgroup = layout.pod(uid), layout.pod_cgroup(node.name, uid)
    netns, node_netns = layout.pod_netns(uid), layout.netns(node.name)
    try:
        folder.mkdir(parents=True)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        (folder / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (folder / "resolv.conf").write_text(resolv_conf)
        for name in (PAUSE, *(container.name for container in pod.spec.containers)):
            cgroups.create(cgroup / name)
        ledger.create_netns(netns)
        await asyncio.to_thread(network.join_pod, node_netns, node, netns, f"pod{uid[:8]}", address)
        line = commands.pause(netns, cgroup / PAUSE, folder / "hosts", folder / "resolv.conf", pod.metadata.name)
        pause = await _started(line)
    except BaseException:
        await asyncio.to_thread(_remove, cgroup, folder)
        if netns in ledger.record.netns:  # else the name is somebody else's
            ledger.delete_netns(netns)
        raise
    return Sandbox(folder, cgroup, netns, address, node, pause)


async def remove(sandbox: Sandbox, ledger: Ledger) -> None:
    """Kill what still runs in the sandbox and take all of it away."""
    await asyncio.to_thread(_remove, sandbox.cgroup, sandbox.folder)
    await sandbox.pause.wait()
    ledger.delete_netns(sandbox.netns)


def rewrite(path: Path, text: str) -> None:
    """Write a file without changing its inode, and only when it says something else."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() != text:
            path.write_text(text)


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
