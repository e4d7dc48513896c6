"""The lab's kubelet: runs the pods that are bound to its nodes, and reports their status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from agent.api.kubernetes import Pod, Service, ServiceAccount
from agent.errors import UnavailableError, WeftError
from agent.kube import Cluster
from agent.lab import sandbox
from agent.lab.addresses import DNS_SERVICE, MOST_PODS, NodePlan, Pair, free_pod_address
from agent.lab.backoff import next_delay
from agent.lab.cni import Chain
from agent.lab.layout import Layout
from agent.lab.pod import PodRun, forget, say
from agent.lab.prober import Prober
from agent.lab.record import Ledger
from agent.lab.sandbox import Sandbox
from agent.lab.services import hosts_file, resolv_conf
from agent.lab.tokens import Bearer, Signer, Subject
from agent.lab.view import View

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tenant:
    """A pod that this kubelet runs."""

    pod: Pod
    address: Pair
    run: PodRun
    task: asyncio.Task[None]


class Kubelet:
    """Serves all nodes of the lab. `follow` owns all state."""

    def __init__(
        self,
        layout: Layout,
        ledger: Ledger,
        nodes: Mapping[str, NodePlan],
        cluster: Cluster,
        view: View,
        signer: Signer,
        probers: Mapping[str, Prober],
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._nodes = nodes
        self._cluster = cluster
        self._view = view
        self._signer = signer
        self._probers = probers
        self._chains = {name: Chain.below(layout.cni(name)) for name in nodes}
        self._tenants: dict[str, _Tenant] = {}
        self._last: dict[str, Pair] = {}

    async def follow(self) -> None:
        """Start, end and inform pods as the cluster's objects change; for ever."""
        changed = self._view.changed()
        async with asyncio.TaskGroup() as group:
            while True:
                await changed.wait()
                changed.clear()
                self._reconcile(group, changed)

    def _reconcile(self, group: asyncio.TaskGroup, changed: asyncio.Event) -> None:
        pods = {pod.metadata.uid: pod for pod in self._view.typed(Pod)}
        for uid, tenant in list(self._tenants.items()):
            if tenant.task.done():
                del self._tenants[uid]
            elif uid not in pods or pods[uid].metadata.deletion_timestamp:
                tenant.run.end()
        for uid, pod in pods.items():
            if uid in self._tenants:
                continue
            if pod.metadata.deletion_timestamp:
                group.create_task(forget(self._cluster, pod))
            elif pod.spec.node_name not in self._nodes or pod.status.phase in ("Succeeded", "Failed"):
                continue
            elif reason := self._obstacle(pod):
                group.create_task(say(self._cluster, pod, reason))
            else:
                self._start(group, pod, changed)
        self._write_hosts(pods)

    def _obstacle(self, pod: Pod) -> str:
        """What a pod waits for before it can be started; empty when it can."""
        namespace, account = pod.metadata.namespace, pod.spec.service_account_name
        if self._view.find(ServiceAccount, namespace, account) is None:
            return f"service account {namespace}/{account} does not exist"
        if sum(tenant.pod.spec.node_name == pod.spec.node_name for tenant in self._tenants.values()) >= MOST_PODS:
            return f"{pod.spec.node_name} runs {MOST_PODS} pods, the most it can"
        return ""

    def _start(self, group: asyncio.TaskGroup, pod: Pod, changed: asyncio.Event) -> None:
        node = self._nodes[pod.spec.node_name]
        taken = {tenant.address for tenant in self._tenants.values()}
        address = free_pod_address(node, taken, self._last.get(node.name))
        self._last[node.name] = address
        run = PodRun(self._layout, self._cluster, node, pod, address, self._probers[node.name], on_change=changed.set)
        task = group.create_task(self._run(run, pod, node, address, changed), name=f"pod {pod.full_name}")
        self._tenants[pod.metadata.uid] = _Tenant(pod, address, run, task)

    async def _run(self, run: PodRun, pod: Pod, node: NodePlan, address: Pair, changed: asyncio.Event) -> None:
        """One pod from its sandbox to its end. An error ends this pod only, after it was told."""
        try:
            box = await self._enter(run, pod, node, address)
            try:
                run.write_token(self._signer, self._subject(pod))
                await run.live(box)
            finally:
                await self._leave(box, pod)
            await forget(self._cluster, pod)
        except WeftError as exc:
            logger.error("pod cannot run", extra={"pod": pod.full_name, "reason": exc})
            await run.fail(str(exc))
        finally:
            changed.set()

    async def _enter(self, run: PodRun, pod: Pod, node: NodePlan, address: Pair) -> Sandbox:
        """A sandbox in which the node's CNI chain lets the pod start, or in which it is to end."""
        home = resolv_conf(pod.metadata.namespace, str(DNS_SERVICE))
        delay = 0.0
        while True:
            names = [container.name for container in pod.spec.containers]
            box = await sandbox.create(self._layout, self._ledger, node, pod, address, home, names)
            try:
                await self._chains[node.name].add(pod, box.netns, address)
                return box
            except UnavailableError as exc:
                if run.is_ending:
                    return box
                await self._leave(box, pod)
                await say(self._cluster, pod, str(exc))
            except BaseException:
                await self._leave(box, pod)
                raise
            delay = next_delay(delay, 0)
            await asyncio.sleep(delay)

    async def _leave(self, box: Sandbox, pod: Pod) -> None:
        try:
            await self._chains[box.node.name].delete(pod, box.netns, box.address)
        finally:
            await sandbox.remove(box, self._ledger)

    def _subject(self, pod: Pod) -> Subject:
        namespace, name = pod.metadata.namespace, pod.spec.service_account_name
        account = self._view.find(ServiceAccount, namespace, name)
        return Subject(
            namespace,
            Bearer(name, account.metadata.uid if account else ""),
            Bearer(pod.metadata.name, pod.metadata.uid),
            Bearer(pod.spec.node_name, pod.spec.node_name),
        )

    def _write_hosts(self, pods: Mapping[str, Pod]) -> None:
        services = self._view.typed(Service)
        every = list(pods.values())
        for uid in self._tenants:
            if (pod := pods.get(uid)) is not None:
                with contextlib.suppress(FileNotFoundError):
                    sandbox.rewrite(self._layout.pod(uid) / "hosts", hosts_file(pod, services, every))

    def renew_tokens(self) -> None:
        """Write every pod's token anew."""
        for tenant in self._tenants.values():
            with contextlib.suppress(FileNotFoundError):
                tenant.run.write_token(self._signer, self._subject(tenant.pod))
