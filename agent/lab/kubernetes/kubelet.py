"""The kubelet of all the lab's nodes: runs the pods that the API server binds to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.api.objects import ObjectMeta
from agent.api.pods import runnable_pod
from agent.api.pods.spec import RunnablePod
from agent.errors import InvalidObjectError, NotFoundError, WeftError
from agent.kube import POD, Object
from agent.lab.addresses import MOST_PODS, Pair, free_pod_address
from agent.lab.kubernetes.desk import Desk, Home
from agent.lab.kubernetes.pod import PodRun
from agent.lab.view import View

logger = logging.getLogger(__name__)

_GONE_SECONDS = 1.0  # for a pod whose object somebody has removed without waiting for its end


@dataclass(slots=True)
class Tenant:
    """A pod that this kubelet runs, or has run."""

    run: PodRun
    task: asyncio.Task[None]
    version: str = ""  # of its object, as it was seen last


class Kubelet:
    """`follow` owns all state."""

    def __init__(self, desk: Desk, homes: Mapping[str, Home], view: View, on_change: Callable[[], None]) -> None:
        """on_change: called whenever anything may be different of the pods."""
        self._desk = desk
        self._homes = homes
        self._view = view
        self._on_change = on_change
        self._tenants: dict[str, Tenant] = {}
        self._refused: set[tuple[str, bool]] = set()  # uids, and whether they were let go of
        self._last: dict[str, Pair] = {}

    @property
    def runs(self) -> list[PodRun]:
        return [tenant.run for tenant in self._tenants.values()]

    def netns(self, namespace: str, name: str) -> str:
        """The name of a pod's network namespace; NotFoundError when it does not run."""
        boxes = [run.box for run in self.runs if run.pod.full_name == f"{namespace}/{name}"]
        found = next((box.netns for box in boxes if box is not None), None)
        if found is None:
            raise NotFoundError(f"pod {namespace}/{name} does not run")
        return found

    async def follow(self) -> None:
        """Start, end and inform pods as the cluster's objects change; for ever."""
        changed = self._view.changed()
        async with asyncio.TaskGroup() as group:
            while True:
                await changed.wait()
                changed.clear()
                self._reconcile(group, changed)
                named = self._desk.named()
                for run in self.runs:
                    run.write_hosts(named)
                self._on_change()

    def _reconcile(self, group: asyncio.TaskGroup, changed: asyncio.Event) -> None:
        pods = {pod["metadata"]["uid"]: pod for pod in self._view.every(POD) if self._is_ours(pod)}
        for uid in [uid for uid, tenant in self._tenants.items() if tenant.task.done() and uid not in pods]:
            del self._tenants[uid]
        self._refused = {refusal for refusal in self._refused if refusal[0] in pods}
        for uid, tenant in self._tenants.items():
            if uid not in pods:
                tenant.run.end(_GONE_SECONDS)
        for uid, stored in pods.items():
            known = self._tenants.get(uid)
            if known is not None and known.version == stored["metadata"]["resourceVersion"]:
                known.run.notice(known.run.pod)
                continue
            try:
                self._bring(group, changed, stored, runnable_pod(stored, "the API server"))
            except InvalidObjectError as exc:
                refusal = uid, "deletionTimestamp" in stored["metadata"]
                if refusal not in self._refused:
                    self._refused.add(refusal)
                    group.create_task(self._refuse(stored, exc))

    def _is_ours(self, pod: Object) -> bool:
        return pod["spec"].get("nodeName") in self._homes

    def _bring(self, group: asyncio.TaskGroup, changed: asyncio.Event, stored: Object, pod: RunnablePod) -> None:
        tenant = self._tenants.get(pod.metadata.uid)
        if tenant is None:
            tenant = self._start(group, changed, stored, pod)
        tenant.version = pod.metadata.resource_version
        tenant.run.notice(pod)
        if pod.metadata.deletion_timestamp:
            tenant.run.end(float(stored["metadata"].get("deletionGracePeriodSeconds") or 0))

    def _start(self, group: asyncio.TaskGroup, changed: asyncio.Event, stored: Object, pod: RunnablePod) -> Tenant:
        home = self._homes[pod.spec.node_name]
        run = PodRun(self._desk, home, pod, stored.get("status") or {}, self._address(home, pod))
        has_ended = pod.status.phase in ("Succeeded", "Failed")  # before this kubelet began
        task = group.create_task(run.await_end() if has_ended else run.live(), name=f"pod {pod.full_name}")
        task.add_done_callback(lambda _: changed.set())
        found = self._tenants[pod.metadata.uid] = Tenant(run, task)
        return found

    def _address(self, home: Home, pod: RunnablePod) -> Pair | None:
        own = [run for run in self.runs if run.node == home.node.name]
        if len(own) >= MOST_PODS:
            raise InvalidObjectError(f"{home.node.name} runs {MOST_PODS} pods, the most it can")
        if pod.spec.host_network:
            return None
        taken = {run.address for run in own if run.address is not None}
        address = self._last[home.node.name] = free_pod_address(home.node, taken, self._last.get(home.node.name))
        return address

    async def _refuse(self, stored: Object, reason: InvalidObjectError) -> None:
        """Say of a pod that it cannot be run, or let go of it."""
        pod = ObjectMeta.model_validate(stored["metadata"])
        try:
            if pod.deletion_timestamp:
                await self._desk.writes.forget(pod)
            else:
                logger.error("pod cannot run", extra={"pod": f"{pod.namespace}/{pod.name}", "reason": reason})
                self._desk.events.say(pod, stored["spec"]["nodeName"], "Failed", str(reason))
                status = {"phase": "Failed", "reason": "CannotRun", "message": str(reason)}
                await self._desk.writes.status(pod, status)
        except WeftError as exc:
            logger.warning("status is not written", extra={"pod": f"{pod.namespace}/{pod.name}", "reason": exc})
