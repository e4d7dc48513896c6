"""What is done to one pod, in order, so that no connection fails on the way in or out.

In: the namespace's settings, the pod's entry (its ports are reserved), the proxy's listeners
(acknowledged), steering of what comes in, redirection of what goes out, and last the
annotation, after which peers tunnel to it. The proxy serves each direction before the kernel
sends anything there.

Out, the other way round. The annotation goes first; until discovery has told the peers
(announce_seconds), those that still tunnel find the listener, and those that no longer do are
steered to the proxy all the same: both ways work. Then redirection and steering end: new
connections are plain ones, while the listeners still accept what waits in their queues
(SETTLE_SECONDS). Then the proxy lets go, which drains what it has; the rules that its last
hops need stay until these are closed (drain_seconds at most).

Every step may be repeated, so that a pod is picked up wherever a failure left it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from agent import kube
from agent.errors import ConflictError, KernelError, NotFoundError, PodNotReadyError
from agent.handover import AddPod
from agent.kube import Cluster
from agent.model import Pod, PodUid
from agent.node import cgroups, netns
from agent.node.layout import POD_ADDRESSES, POD_OUTBOUND, POD_PREPARED, PodEntry
from agent.node.redirect import Redirection
from agent.wire import HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT, REDIRECTION_ANNOTATION, REDIRECTION_ENABLED

SETTLE_SECONDS: Final = 0.2
DRAIN_POLL_SECONDS: Final = 0.1


class HandOver(Protocol):
    """The node proxies."""

    async def add(self, pod: AddPod) -> None: ...

    async def delete(self, uid: PodUid) -> None: ...


@dataclass(slots=True)
class Captured:
    """How far a pod is. `netns` is a descriptor that this owns, -1 while it is not known.

    is_given: the runtime gave the namespace through CNI, so it is the pod's without a process there.
    """

    uid: PodUid
    netns: int = -1
    is_given: bool = False
    cookie: int = 0
    entry: PodEntry | None = None
    steered: tuple[str, ...] = ()
    is_handed: bool = False
    is_enrolled: bool = False

    @property
    def is_redirected(self) -> bool:
        """Whether all that comes and goes is the proxy's."""
        return bool(self.steered) and self.entry is not None and bool(self.entry.flags & POD_OUTBOUND)

    def close(self) -> None:
        """Close the descriptor; twice is fine."""
        self.is_given = False
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1


class Steps:
    """The way in and the way out, over the edges that they need."""

    def __init__(
        self,
        kernel: Redirection,
        proxies: HandOver,
        cluster: Cluster,
        cgroup_root: Path,
        *,
        announce_seconds: float,
        drain_seconds: float,
    ) -> None:
        self._kernel = kernel
        self._proxies = proxies
        self._cluster = cluster
        self._root = cgroup_root
        self._announce_seconds = announce_seconds
        self._drain_seconds = drain_seconds

    async def enter(self, captured: Captured, fd: int) -> None:
        """Go on in the namespace that the runtime has just made for the pod; `fd` becomes the pod's.

        KernelError when another pod is served there: one of the two would get the other's identity.
        """
        captured.close()
        captured.netns, captured.is_given, captured.steered = fd, True, ()
        cookie = await netns.within(fd, netns.cookie)
        entry = self._kernel.pod(cookie)
        if entry is not None and entry.uid != captured.uid:
            captured.close()
            raise KernelError(f"pod {entry.uid} is served in this network namespace already")
        self._recognise(captured, cookie)

    async def capture(self, captured: Captured, pod: Pod) -> None:
        """Go on until the pod's traffic is redirected. Raises what stands in the way."""
        if captured.steered != pod.addresses and not captured.is_given:
            captured.close()  # its namespace may be another one now
        await self.find(captured)
        if captured.entry is None or captured.steered != pod.addresses:
            await self._prepare(captured, pod)
        if not captured.is_handed:
            await self._check_ports(captured)
            await self._proxies.add(addition(pod, captured.netns))
            captured.is_handed = True
        self._kernel.steer(captured.uid, captured.cookie, captured.netns, pod.addresses, pod.probe_ports)
        captured.steered = pod.addresses
        self._flag(captured, POD_PREPARED | POD_OUTBOUND)

    async def announce(self, captured: Captured, pod: Pod) -> None:
        """Tell the cluster that the pod is captured, upon which peers tunnel to it."""
        await self.annotate(pod, REDIRECTION_ENABLED)
        captured.is_enrolled = True

    async def withdraw(self, captured: Captured, pod: Pod | None) -> None:
        """Return the pod to plain networking; `pod` None: it is gone, and so are its peers' connections."""
        was_redirected = captured.entry is not None and bool(captured.entry.flags & POD_OUTBOUND)
        if pod is not None:
            await self.annotate(pod, None)
        captured.is_enrolled = False
        if captured.netns < 0 and pod is not None:
            await self.find(captured)
        if was_redirected:
            await self._unhook(captured, is_hurried=pod is None)
        await self._proxies.delete(captured.uid)
        captured.is_handed = False
        if captured.entry is not None:
            await self._restore(captured)
            self._drop(captured)
        captured.close()

    async def find(self, captured: Captured) -> None:
        """Open the pod's network namespace, unless it is known.

        A pod that was given another one (its sandbox was made anew) begins anew.
        """
        if captured.netns < 0:
            captured.netns, cookie = await self._open(captured.uid)
            self._recognise(captured, cookie)

    def _recognise(self, captured: Captured, cookie: int) -> None:
        if captured.entry is not None and captured.cookie != cookie:
            self._drop(captured)
        captured.cookie = cookie

    async def _open(self, uid: PodUid) -> tuple[int, int]:
        fd = await asyncio.to_thread(cgroups.open_netns, uid, self._root)
        try:
            return fd, await netns.within(fd, netns.cookie)
        except BaseException:
            os.close(fd)
            raise

    def _drop(self, captured: Captured) -> None:
        self._kernel.stop_steering(captured.uid, captured.cookie)
        self._kernel.forget(captured.cookie)
        captured.entry, captured.steered = None, ()
        captured.is_handed = captured.is_enrolled = False

    async def annotate(self, pod: Pod, value: str | None) -> None:
        """Write the pod's annotation, None removes it; a pod that is gone needs none."""
        if value is not None and pod.annotations.get(REDIRECTION_ANNOTATION) == value:
            return
        patch = {"metadata": {"annotations": {REDIRECTION_ANNOTATION: value}}}
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._cluster.patch(kube.POD, pod.namespace, pod.name, patch, uid=pod.uid)

    async def _prepare(self, captured: Captured, pod: Pod) -> None:
        try:
            addresses = _arrange(pod, await netns.within(captured.netns, netns.addresses))
        except PodNotReadyError:
            captured.is_given = False  # the pod may live elsewhere by now: look for its processes
            raise
        if captured.entry is None:
            before = await netns.within(captured.netns, netns.read_sysctls)
            # Stored before anything changes, so that a later agent knows what to restore.
            captured.entry = PodEntry(pod.uid, 0, before, addresses)
            self._kernel.store(captured.cookie, captured.entry)
        captured.entry = replace(captured.entry, addresses=addresses)
        await netns.within(captured.netns, functools.partial(netns.write_sysctls, netns.ALL_SYSCTLS))
        await netns.within(captured.netns, netns.add_routing)
        self._flag(captured, captured.entry.flags | POD_PREPARED)

    async def _check_ports(self, captured: Captured) -> None:
        """PodNotReadyError while the pod itself listens on a port of the proxy.

        With SO_REUSEPORT on both sides the proxy would get the port too, and only a part of what
        comes there. Nobody but a proxy can bind it any more, since the pod is prepared.
        """
        proxies = self._kernel.exempted()
        for port, cgroup in await netns.within(captured.netns, netns.listeners):
            if port in (OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT) and cgroup not in proxies:
                raise PodNotReadyError(
                    f"port {port}: something else in the pod listens there, a sidecar or another mesh's proxy; end it, "
                    "or keep the pod out (istio.io/dataplane-mode=none)"
                )

    def _flag(self, captured: Captured, flags: int) -> None:
        assert captured.entry is not None, "flags of a pod that is not prepared"
        captured.entry = replace(captured.entry, flags=flags)
        self._kernel.store(captured.cookie, captured.entry)

    async def _unhook(self, captured: Captured, *, is_hurried: bool) -> None:
        if not is_hurried:
            await asyncio.sleep(self._announce_seconds)
        self._flag(captured, POD_PREPARED)
        self._kernel.stop_steering(captured.uid, captured.cookie)
        captured.steered = ()
        if not is_hurried:
            await asyncio.sleep(SETTLE_SECONDS)

    async def _restore(self, captured: Captured) -> None:
        if captured.netns < 0 or captured.entry is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                while await netns.within(captured.netns, netns.last_hops):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(DRAIN_POLL_SECONDS)
        await netns.within(captured.netns, netns.remove_routing)
        await netns.within(captured.netns, functools.partial(netns.write_sysctls, captured.entry.sysctls))


def addition(pod: Pod, fd: int) -> AddPod:
    """The hand-over of a pod; the descriptor stays the caller's."""
    return AddPod(pod.uid, pod.name, pod.namespace, pod.service_account, fd)


def _arrange(pod: Pod, found: Iterable[str]) -> tuple[str, ...]:
    """All the namespace's addresses, the pod's own first.

    PodNotReadyError when none is the pod's (it may be another pod's namespace) or there are
    too many for the pod's entry.
    """
    known = tuple(str(ipaddress.ip_address(address)) for address in pod.addresses)
    there = tuple(found)
    if not set(known) & set(there):
        raise PodNotReadyError(f"its network namespace has {', '.join(there) or 'no address'}, not {', '.join(known)}")
    every = (*(address for address in known if address in there), *(each for each in there if each not in known))
    if len(every) > POD_ADDRESSES:
        raise PodNotReadyError(f"its network namespace has {len(every)} addresses; at most {POD_ADDRESSES} are served")
    return every
