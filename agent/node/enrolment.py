"""Which pods are on the way in or out of the mesh: one task a pod, so that none waits for another.

A pod whose enrolment fails stays pending, its reason is logged once and shown as a metric,
and it is tried again: 0.1 s after the first failure and after twice as long each time, up to
15 s, or as soon as anything about it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from agent.errors import NotFoundError, PodGoneError, WeftError
from agent.handover import AddPod, KeepPod
from agent.metrics import NodeMetrics
from agent.model import Pod, PodUid
from agent.node.layout import POD_OUTBOUND
from agent.node.redirect import Redirection
from agent.node.steps import Captured, Steps, addition
from agent.wire import REDIRECTION_PENDING

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 0.1
LAST_RETRY_SECONDS: Final = 15.0
_NO_LONGER_WANTED: Final = "the pod is not to be enrolled any more"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a pod is that is enrolled or on the way; `problem` is why its last step failed, or empty."""

    is_enrolled: bool
    problem: str = ""


@dataclass(eq=False, slots=True)
class _Sandbox:
    """What the runtime has made for a pod and keeps from starting. `netns` is a descriptor that this owns, or -1."""

    netns: int
    addresses: tuple[str, ...]
    captured: asyncio.Future[None]

    def take(self) -> int:
        fd, self.netns = self.netns, -1
        return fd

    def end(self, reason: str) -> None:
        """Let nobody wait for it any longer; twice is fine."""
        if self.netns >= 0:
            os.close(self.take())
        if not self.captured.done():
            self.captured.set_exception(PodGoneError(reason))


@dataclass(slots=True)
class _Case:
    """One pod's task and what it is about. Only the task writes `captured` and `problem`."""

    captured: Captured
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    problem: Exception | None = None
    sandbox: _Sandbox | None = None  # the last that was given
    told: tuple[Pod | None, Pod | None] | None = None  # the pod if it is wanted, and if it lives, as was said last

    def addressed(self, pod: Pod) -> Pod:
        """The pod with the addresses of its sandbox while its status has none, or an earlier one's."""
        if self.sandbox is None or set(pod.addresses) & set(self.sandbox.addresses):
            return pod
        return replace(pod, addresses=self.sandbox.addresses)

    def put(self, sandbox: _Sandbox) -> None:
        if self.sandbox is not None:
            self.sandbox.end("the pod has been given another sandbox")
        self.sandbox = sandbox
        self.changed.set()


class Enrolments:
    """All pods in the mesh or on the way; `want` says where they shall go.

    group: the tasks run in it, and end with it; what is enrolled then stays so.
    """

    def __init__(self, kernel: Redirection, steps: Steps, group: asyncio.TaskGroup, metrics: NodeMetrics) -> None:
        self._metrics = metrics
        self._kernel = kernel
        self._steps = steps
        self._group = group
        self._cases: dict[PodUid, _Case] = {}
        self._wanted: Mapping[PodUid, Pod] = {}
        self._living: Mapping[PodUid, Pod] = {}
        self._reported: dict[PodUid, str] = {}

    @property
    def uids(self) -> frozenset[PodUid]:
        """The pods that are enrolled or on the way."""
        return frozenset(self._cases)

    @property
    def standings(self) -> dict[PodUid, Standing]:
        """How each of those is doing now."""
        return {uid: Standing(case.captured.is_enrolled, str(case.problem or "")) for uid, case in self._cases.items()}

    @property
    def left(self) -> Mapping[PodUid, str]:
        """Pods that are left as they are, by why."""
        return self._reported

    async def adopt(self, living: Mapping[PodUid, Pod]) -> list[AddPod | KeepPod]:
        """Take over what an earlier agent enrolled. Returns the pods that the proxies have from it.

        living: all pods that exist; entries of others are removed, with what is pinned for them.
        """
        requests: list[AddPod | KeepPod] = []
        for cookie, entry in self._kernel.pods().items():
            uid = PodUid(entry.uid)
            if uid not in living:
                self._kernel.stop_steering(uid, cookie)
                self._kernel.forget(cookie)
                continue
            captured = Captured(uid, cookie=cookie, entry=entry, is_handed=bool(entry.flags & POD_OUTBOUND))
            self._cases[uid] = _Case(captured)
            with contextlib.suppress(WeftError):
                await self._steps.find(captured)
            if captured.is_handed:
                is_known = captured.netns >= 0
                requests.append(addition(living[uid], captured.netns) if is_known else KeepPod(uid))
        for uid in self._cases:
            self._start(uid)
        return requests

    def want(self, wanted: Mapping[PodUid, Pod], living: Mapping[PodUid, Pod]) -> None:
        """Go towards exactly these pods being enrolled; `living`: all pods that exist and have not finished."""
        self._wanted, self._living = wanted, living
        for uid in wanted.keys() - self._cases.keys():
            self._cases[uid] = _Case(Captured(uid))
            self._start(uid)
        # Only whom it concerns: with many pods that come at once, each one's change would wake all.
        for uid, case in self._cases.items():
            told = (wanted.get(uid), living.get(uid))
            if told != case.told or case.problem is not None:
                case.told = told
                case.changed.set()

    async def hold(self, uid: PodUid, fd: int, addresses: tuple[str, ...]) -> None:
        """Return once the pod is captured in the sandbox that the runtime has just made; `fd` stays the caller's.

        addresses: as the sandbox was given them, in the usual form. Raises NotFoundError when the pod is not
        to be enrolled, PodGoneError when it no longer is or has another sandbox. What stands in the way
        meanwhile is in `standings`. Cancelled, it leaves the sandbox to the pod.
        """
        case = self._cases.get(uid)
        if case is None or uid not in self._wanted:
            raise NotFoundError("the pod is not to be enrolled")
        sandbox = _Sandbox(os.dup(fd), addresses, asyncio.get_running_loop().create_future())
        case.put(sandbox)
        await sandbox.captured

    def report(self, problems: Mapping[PodUid, str]) -> None:
        """Say once why pods are left as they are; those that have no problem any more are forgotten."""
        for uid, reason in problems.items():
            if self._reported.get(uid) != reason:
                logger.warning("pod is left as it is", extra={"uid": uid, "reason": reason})
        self._reported = dict(problems)
        self._measure()

    def _start(self, uid: PodUid) -> None:
        self._group.create_task(self._keep(self._cases[uid]))

    async def _keep(self, case: _Case) -> None:
        """Bring one pod where it is wanted, until it is withdrawn."""
        uid = case.captured.uid
        retry_seconds = FIRST_RETRY_SECONDS
        try:
            await case.changed.wait()
            while True:
                case.changed.clear()
                try:
                    if not await self._go(case):
                        return
                    self._settle(case, None)
                    retry_seconds = FIRST_RETRY_SECONDS
                    await case.changed.wait()
                except Exception as exc:  # noqa: BLE001 - whatever is wrong with one pod, the others go on
                    await self._report(case, exc)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(case.changed.wait(), retry_seconds)
                    retry_seconds = min(retry_seconds * 2, LAST_RETRY_SECONDS)
        finally:
            if case.sandbox is not None:
                case.sandbox.end(_NO_LONGER_WANTED)
            case.captured.close()
            self._cases.pop(uid, None)
            self._measure()

    async def _go(self, case: _Case) -> bool:
        """One try. False: the pod is out and its task may end."""
        uid = case.captured.uid
        pod = self._wanted.get(uid)
        if pod is None:
            if case.sandbox is not None:
                case.sandbox.end(_NO_LONGER_WANTED)
                case.sandbox = None
            await self._steps.withdraw(case.captured, self._living.get(uid))
            self._metrics.reconcile_events.labels("remove").inc()
            logger.info("pod withdrawn", extra={"uid": uid})
            return uid in self._wanted  # wanted again meanwhile
        sandbox = case.sandbox
        if sandbox is not None and sandbox.netns >= 0:
            await self._steps.enter(case.captured, sandbox.take())
        pod = case.addressed(pod)
        if pod.addresses:  # before that, there is nothing to redirect
            was_enrolled = case.captured.is_enrolled
            await self._steps.capture(case.captured, pod)
            # Whoever holds the pod's start waits for the kernel only, not for the cluster to hear of it.
            if sandbox is not None and sandbox is case.sandbox and not sandbox.captured.done():
                sandbox.captured.set_result(None)
            await self._steps.announce(case.captured, pod)
            if not was_enrolled:
                self._metrics.reconcile_events.labels("add").inc()
                logger.info("pod enrolled", extra={"pod": pod.full_name, "uid": uid})
        return True

    async def _report(self, case: _Case, problem: Exception) -> None:
        is_new = str(case.problem) != str(problem)
        self._settle(case, problem)
        if not is_new:
            return
        uid = case.captured.uid
        pod = self._wanted.get(uid)
        name = pod.full_name if pod else uid
        logger.warning("pod is pending", extra={"pod": name, "uid": uid, "reason": problem})
        if not isinstance(problem, WeftError):
            logger.error("the failure is of no kind that is expected", exc_info=problem)
        if pod is not None and not case.captured.is_enrolled:
            with contextlib.suppress(WeftError):
                await self._steps.annotate(pod, REDIRECTION_PENDING)

    def _settle(self, case: _Case, problem: Exception | None) -> None:
        case.problem = problem
        self._measure()

    def _measure(self) -> None:
        enrolled = sum(case.captured.is_enrolled for case in self._cases.values())
        self._metrics.enrolled_pods.set(enrolled)
        pending = Counter(type(case.problem).__name__ for case in self._cases.values() if case.problem is not None)
        pending["Selection"] = len(self._reported)
        self._metrics.pending_pods.clear()
        for reason, count in pending.items():
            self._metrics.pending_pods.labels(reason).set(count)
