"""Pods that are about to start: each is held until it is captured, or known not to belong to the mesh.

The container runtime has made the pod's network, and the CNI plugin waits for the answer. What
the pod is and where it belongs comes from the watch of the cluster, which kubelet was told by
too; the cluster itself is not asked. A pod that is not known yet is waited for a little.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from agent.errors import ForbiddenError, PodNotReadyError, WeftError
from agent.model import NodeName, Pod, PodUid
from agent.node import netns
from agent.node.cni_requests import Answer, Command, Request, State, pod_of
from agent.node.enrolment import Standing
from agent.node.inventory import Inventory
from agent.node.selection import Rules, judge

logger = logging.getLogger(__name__)

# The watch is a moment behind kubelet's; one that is further behind has lost the API server.
KNOWN_SECONDS: Final = 5.0


class Enrolling(Protocol):
    """The pods that are enrolled or on the way; as agent.node.enrolment.Enrolments."""

    @property
    def standings(self) -> Mapping[PodUid, Standing]: ...

    async def hold(self, uid: PodUid, fd: int, addresses: tuple[str, ...]) -> None: ...


class Following(Protocol):
    """What is known of the cluster; as agent.node.watch.Watch."""

    inventory: Inventory
    changed: asyncio.Event

    @property
    def rules(self) -> Rules: ...


class Starts:
    """Answers the plugin's requests, any number at once.

    check_sandbox: raises ForbiddenError for a descriptor that cannot be the namespace with these addresses.
    """

    def __init__(
        self,
        node: NodeName,
        watch: Following,
        enrolments: Enrolling,
        check_sandbox: Callable[[int, Sequence[str]], Awaitable[None]] = netns.check_sandbox,
    ) -> None:
        self._node = node
        self._watch = watch
        self._enrolments = enrolments
        self._check_sandbox = check_sandbox

    async def answer(self, request: Request, fd: int) -> Answer:
        """Within the time that the request leaves; `fd` is the pod's network namespace and stays the caller's."""
        try:
            async with asyncio.timeout(request.wait_seconds):
                return await self._answer(request, fd)
        except TimeoutError:
            return Answer(State.WAITING, self._obstacle(request))
        except ForbiddenError as exc:
            return Answer(State.REFUSED, str(exc))
        except WeftError as exc:
            return Answer(State.WAITING, str(exc))

    async def _answer(self, request: Request, fd: int) -> Answer:
        pod = await self._known(request)
        if pod.node != self._node:
            raise ForbiddenError(f"pod {pod.full_name} is bound to node {pod.node!r}, and this is {self._node!r}")
        if request.command is Command.CHECK:
            return self._checked(pod)
        verdict = judge(pod, self._watch.inventory.namespace_labels[pod.namespace], self._watch.rules)
        if verdict.is_wanted is None and self._watch.rules.obstacle:
            raise PodNotReadyError(verdict.reason)
        if pod.is_finished or not verdict.is_wanted:
            return Answer(State.OUTSIDE)
        await self._check_sandbox(fd, request.addresses)
        await self._enrolments.hold(pod.uid, fd, request.addresses)
        logger.info("pod may start, it is captured", extra={"pod": pod.full_name, "uid": pod.uid})
        return Answer(State.CAPTURED)

    def _checked(self, pod: Pod) -> Answer:
        """A pod on its way out, or in by a label of just now, is where it should be for the moment."""
        standing = self._enrolments.standings.get(pod.uid)
        if standing is None or standing.is_enrolled or not standing.problem:
            return Answer(State.CAPTURED if standing else State.OUTSIDE)
        return Answer(State.WAITING, standing.problem)

    async def _known(self, request: Request) -> Pod:
        """The pod, once it and its namespace are known: a label of either decides."""
        try:
            async with asyncio.timeout(KNOWN_SECONDS):
                while True:
                    changed = self._watch.changed
                    if (pod := self._find(request)) is not None:
                        return pod
                    await changed.wait()
        except TimeoutError as exc:
            raise PodNotReadyError(self._unknown(request)) from exc

    def _find(self, request: Request) -> Pod | None:
        inventory = self._watch.inventory
        pod = pod_of(request, inventory)
        return pod if pod is not None and pod.namespace in inventory.namespace_labels else None

    def _unknown(self, request: Request) -> str:
        is_namespace = pod_of(request, self._watch.inventory) is not None
        what = f"namespace {request.namespace}" if is_namespace else f"pod {request.full_name} ({request.uid})"
        return f"the node agent does not know {what} yet; is the cluster's API away from it?"

    def _obstacle(self, request: Request) -> str:
        pod = self._find(request)
        if pod is None:
            return self._unknown(request)
        standing = self._enrolments.standings.get(pod.uid)
        reason = standing.problem if standing else ""
        return f"pod {pod.full_name} is not captured yet: {reason or 'it is still being enrolled'}"
