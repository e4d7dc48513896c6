"""The containers of one pod in the order of their lives: init containers, then the others; sidecars to the last."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from agent.api.pods.containers import RunnableContainer
from agent.kube import Object
from agent.lab.kubernetes.container import ContainerRun, Say, Surroundings
from agent.lab.kubernetes.desk import Desk, Home
from agent.lab.kubernetes.facts import Facts
from agent.lab.kubernetes.report import Report
from agent.lab.kubernetes.variables import command, environment
from agent.lab.kubernetes.volumes import Volumes
from agent.lab.kubernetes.waiting import Ending, first
from agent.lab.layout import netns_path
from agent.lab.oci.specification import Mount, Place, specification
from agent.lab.sandbox import Sandbox


class Containers:
    """Of a pod that has its sandbox and its volumes."""

    def __init__(
        self,
        desk: Desk,
        home: Home,
        box: Sandbox,
        hostname: str,
        facts: Callable[[], Facts],
        volumes: Volumes,
        report: Report,
    ) -> None:
        """facts: what the pod may learn of itself, as of now."""
        self._desk = desk
        self._home = home
        self._box = box
        self._hostname = hostname
        self._facts = facts
        self._volumes = volumes
        self._report = report
        self._pod = facts().pod
        self._runs: dict[str, ContainerRun] = {}

    def running(self) -> dict[str, str]:
        """The runtime's names of those that run, by their own."""
        return {name: run.name for name, run in self._runs.items() if run.name}

    async def run(self, ending: Ending, say: Say) -> None:
        """Run them until the pod is to end, or until they are done for good."""
        sidecars_end = Ending()
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[int]] = []
            if await self._prepare(group, ending, sidecars_end, say):
                for container in self._pod.spec.containers:
                    tasks.append(
                        group.create_task(self._run(container, ending, say, self._pod.spec.restart_policy).run())
                    )
                await asyncio.wait(tasks)
            # Sidecars serve the others to their end, and get what these have left of the time.
            sidecars_end.begin(min(self._pod.spec.termination_grace_period_seconds, ending.seconds_left))

    async def _prepare(self, group: asyncio.TaskGroup, ending: Ending, sidecars_end: Ending, say: Say) -> bool:
        """Run the init containers, one after the other; whether all have succeeded."""
        policy = "Never" if self._pod.spec.restart_policy == "Never" else "OnFailure"
        for container in self._pod.spec.init_containers:
            if container.is_sidecar:
                run = self._run(container, sidecars_end, say, "Always")
                group.create_task(run.run())
                await first(run.has_started(), ending.begun())
            elif await self._run(container, ending, say, policy).run() != 0:
                return False
            if ending.has_begun:
                return False
        return True

    def _run(self, container: RunnableContainer, ending: Ending, say: Say, policy: str) -> ContainerRun:
        metadata, name = self._pod.metadata, container.name
        around = Surroundings(
            name=f"{metadata.uid}-{name}",
            address=self._box.address.texts[0],
            restart_policy=policy,
            grace_seconds=self._pod.spec.termination_grace_period_seconds,
            ending=ending,
            runtime=self._desk.runtime,
            prober=self._home.prober,
            specification=lambda: self._specification(container),
            log=self._desk.layout.pod_log(metadata.namespace, metadata.name, name),
            say=say,
        )
        run = ContainerRun(container, around, self._report.states[name], lambda state: self._report.set(name, state))
        self._runs[name] = run
        return run

    def _specification(self, container: RunnableContainer) -> Object:
        facts = self._facts()
        variables = environment(container, facts, self._desk.keys, self._desk.services())
        cgroup = self._box.container_cgroup(container.name).relative_to(self._desk.layout.cgroup_root)
        place = Place(
            netns=netns_path(self._box.netns),
            cgroup=f"/{cgroup}",
            hostname=self._hostname,
            programs=Path(sys.prefix) / "bin",
            machine=self._desk.machine,
        )
        mounts = [*self._volumes.mounts(container), *self._own_files(container)]
        return specification(facts.pod, container, place, mounts, variables, command(container, variables))

    def _own_files(self, container: RunnableContainer) -> list[Mount]:
        """What a kubelet gives every container, unless a volume is mounted there."""
        taken = {mount.mount_path for mount in container.volume_mounts}
        return [
            Mount(self._box.folder / name, f"/etc/{name}")
            for name in ("hosts", "resolv.conf")
            if f"/etc/{name}" not in taken
        ]
