"""The life of one pod in its sandbox: containers run, probed, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import replace

from agent.api.kubernetes import Container, Pod
from agent.errors import ConflictError, NotFoundError
from agent.kube import POD, Cluster
from agent.lab import cgroups, commands, probes
from agent.lab.addresses import NodePlan, Pair
from agent.lab.backoff import next_delay
from agent.lab.containers import ContainerState, command, environment, pod_status
from agent.lab.layout import Layout
from agent.lab.prober import Prober
from agent.lab.sandbox import Sandbox
from agent.lab.tokens import Signer, Subject, write_secret

logger = logging.getLogger(__name__)


class PodRun:
    """Runs one pod until it is done or end() is called; `on_change` is told when the pod is gone."""

    def __init__(
        self,
        layout: Layout,
        cluster: Cluster,
        node: NodePlan,
        pod: Pod,
        address: Pair,
        prober: Prober,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._cluster = cluster
        self._node = node
        self._prober = prober
        self._pod = pod
        self._addresses = address.texts
        self._on_change = on_change
        self._states = {container.name: ContainerState() for container in pod.spec.containers}
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Ask the pod to terminate; live() returns when its containers have ended."""
        self._ending.set()

    @property
    def is_ending(self) -> bool:
        """Whether it has been asked to."""
        return self._ending.is_set()

    def write_token(self, signer: Signer, subject: Subject) -> None:
        """A fresh token of the pod's service account, in its folder."""
        token = signer.sign(subject, int(time.time()))
        write_secret(self._layout.pod(self._pod.metadata.uid) / "token", token.encode())

    async def live(self, box: Sandbox) -> None:
        """Run the containers and report their status, until end(). Cancelled, it leaves them to the caller.

        Raises InvalidObjectError, before anything runs, for a container that cannot be run here.
        """
        await self._report()
        variables = {container.name: self._environment(container) for container in self._pod.spec.containers}
        words = {c.name: command(self._pod, c, variables[c.name]) for c in self._pod.spec.containers}
        async with asyncio.TaskGroup() as group:
            reporter = group.create_task(self._keep_reporting())
            runs = [
                group.create_task(self._run(container, box, words[container.name], variables[container.name]))
                for container in self._pod.spec.containers
            ]
            await self._ending.wait()
            reporter.cancel()
            await asyncio.wait(runs)

    async def fail(self, reason: str) -> None:
        """Say in the pod's status that it cannot run."""
        await self._patch({"phase": "Failed", "reason": "CannotRun", "message": reason})

    async def _keep_reporting(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._report()

    async def _report(self) -> None:
        status = pod_status(self._pod, self._states, self._addresses, self._node.address.texts[0])
        await self._patch({**status, "message": None})

    async def _patch(self, status: dict[str, object]) -> None:
        metadata = self._pod.metadata
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._cluster.patch(POD, metadata.namespace, metadata.name, {"status": status}, uid=metadata.uid)

    def _set(self, container: Container, state: ContainerState) -> None:
        self._states[container.name] = state
        self._changed.set()

    def _environment(self, container: Container) -> dict[str, str]:
        found = environment(self._pod, container, self._addresses, self._node.address.texts[0])
        # What a program leaves in its temporary files goes with the pod's folder.
        return {"TMPDIR": str(self._layout.pod(self._pod.metadata.uid) / "tmp"), **found}

    async def _run(self, container: Container, box: Sandbox, words: list[str], variables: dict[str, str]) -> None:
        """Start a container, and again when it ends, as its restart policy says."""
        delay, restarts = 0.0, 0
        while not self._ending.is_set():
            started = time.monotonic()
            process = await self._spawn(container, box, words, variables)
            code = await self._attend(container, box, process, restarts)
            state = ContainerState(restarts=restarts, exit_code=code, waits_for="CrashLoopBackOff")
            policy = self._pod.spec.restart_policy
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                self._set(container, replace(state, is_done=True))
                return
            self._set(container, state)
            delay = next_delay(delay, time.monotonic() - started)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), delay)
            restarts += 1

    async def _spawn(
        self, container: Container, box: Sandbox, words: list[str], variables: dict[str, str]
    ) -> asyncio.subprocess.Process:
        metadata = self._pod.metadata
        cgroup = box.container_cgroup(container.name)
        path = self._layout.pod_log(metadata.namespace, metadata.name, container.name)
        with path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *commands.in_pod(box.pause_pid, cgroup, words, working_dir=container.working_dir),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )

    async def _attend(
        self, container: Container, box: Sandbox, process: asyncio.subprocess.Process, restarts: int
    ) -> int:
        """Probe a container until it ends, and end what it leaves behind; its exit code."""
        running = ContainerState(restarts=restarts, is_running=True, is_ready=container.readiness_probe is None)
        self._set(container, running)
        probing = asyncio.create_task(self._probe(container, box, running))
        try:
            await self._ended(process)
        finally:
            probing.cancel()
            cgroups.kill(box.container_cgroup(container.name))
        return process.returncode if process.returncode is not None else -1

    async def _ended(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the process ends; once the pod is to end, ask it to, and then no longer ask."""
        exited = asyncio.ensure_future(process.wait())
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({exited, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await asyncio.wait({exited}, timeout=self._pod.spec.termination_grace_period_seconds)
            if not exited.done():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await exited
        finally:
            ending.cancel()
            exited.cancel()

    async def _probe(self, container: Container, box: Sandbox, running: ContainerState) -> None:
        probe = container.readiness_probe
        if probe is None:
            return
        await asyncio.sleep(probe.initial_delay_seconds)
        readiness = probes.Readiness()
        while True:
            succeeded = await probes.succeeds(probe, container, box, self._prober)
            before, readiness = readiness, readiness.after(succeeded=succeeded, probe=probe)
            if before.is_ready != readiness.is_ready:
                self._set(container, replace(running, is_ready=readiness.is_ready))
            await asyncio.sleep(probe.period_seconds if readiness.is_ready else probes.UNTIL_FIRST_SUCCESS_SECONDS)


async def forget(cluster: Cluster, pod: Pod) -> None:
    """Remove a pod's object, unless somebody has, or the name is another pod's by now."""
    metadata = pod.metadata
    with contextlib.suppress(NotFoundError, ConflictError):
        await cluster.patch(POD, metadata.namespace, metadata.name, {}, uid=metadata.uid)
        await cluster.delete(POD, metadata.namespace, metadata.name)


async def say(cluster: Cluster, pod: Pod, message: str) -> None:
    """Put a sentence into the status of a pod that does not run, unless it is there already."""
    metadata = pod.metadata
    with contextlib.suppress(NotFoundError, ConflictError):
        await cluster.patch(POD, metadata.namespace, metadata.name, {"status": {"message": message}}, uid=metadata.uid)
