"""Containers for the tests: a runtime of the test's own, and a check that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.api.pods import runnable_pod
from agent.api.pods.spec import RunnablePod
from agent.lab import cgroups, namespaces
from agent.lab.layout import netns_path
from agent.lab.oci.bundles import remove_all
from agent.lab.oci.running import RunningContainer
from agent.lab.oci.runtime import Runtime, read_machine
from agent.lab.oci.specification import Mount, Place, specification

Object = dict[str, Any]


def a_runnable_pod(container: Object | None = None, **spec: Any) -> RunnablePod:
    """A pod of one container, `main`."""
    containers = [{"name": "main", **(container or {})}]
    return runnable_pod({"metadata": {"name": "web-1", "uid": "1"}, "spec": {"containers": containers, **spec}}, "test")


@dataclass
class Containers:
    """Of one pod; `start` arguments are what a manifest says of the container, and of the pod."""

    folder: Path
    netns: str
    cgroup: str
    runtime: Runtime
    started: list[RunningContainer] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def cgroup_folders(self) -> list[Path]:
        """The pod's cgroup in all hierarchies, version 2 first."""
        mountinfo = cgroups.MOUNTINFO.read_text()
        mounts = [cgroups.find_root(mountinfo), *cgroups.find_version_1(mountinfo)]
        return [mount / self.cgroup.lstrip("/") for mount in mounts]

    async def start(
        self,
        words: Sequence[str],
        container: Object | None = None,
        *,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> RunningContainer:
        pod = a_runnable_pod(container, **spec)
        programs = Path(sys.executable).parent
        place = Place(netns_path(self.netns), f"{self.cgroup}/main", "web-1", programs, read_machine())
        wanted = specification(pod, pod.spec.containers[0], place, mounts, environment or {}, words)
        started = await self.runtime.start(f"1-main-{len(self.started)}", wanted, self.log)
        self.started.append(started)
        return started

    async def output(self, script: str, container: Object | None = None, **more: Any) -> str:
        """What a shell script prints in a container, that ends well."""
        before = self.log.stat().st_size if self.log.exists() else 0
        running = await self.start(["sh", "-c", script], container, **more)
        status = await running.wait()
        await running.delete()
        text = self.log.read_text()[before:]
        assert status == 0, text
        return text

    def left(self) -> list[str]:
        """What there is of containers, apart from the log."""
        mounts = [line for line in cgroups.MOUNTINFO.read_text().splitlines() if f"{self.folder}/" in line]
        found = [str(path / "main") for path in self.cgroup_folders if (path / "main").exists()]
        files = [str(path) for path in (self.folder / "oci").glob("*/*")]
        return mounts + found + files


@contextlib.contextmanager
def containers(folder: Path, name: str = "") -> Iterator[Containers]:
    """A pod's network namespace and cgroup, both of that name, and a runtime for its containers."""
    name = name or f"weft-t{os.getpid()}-{uuid.uuid4().hex[:4]}"
    namespaces.create(name)
    try:
        yield Containers(folder, name, f"/{name}", Runtime(folder))
    finally:
        remove_all(folder)
        cgroups.remove(cgroups.find_root(cgroups.MOUNTINFO.read_text()) / name)
        namespaces.delete(name)
