"""The life of one pod: volumes, a sandbox, init containers, containers, and its end, all told to the API server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from agent.api.kubernetes import Service
from agent.api.pods.spec import RunnablePod
from agent.backoff import delays
from agent.errors import WeftError
from agent.kube import Object
from agent.lab import sandbox
from agent.lab.addresses import DNS_SERVICE, Pair
from agent.lab.kubernetes.containers import Containers
from agent.lab.kubernetes.content import Source
from agent.lab.kubernetes.desk import Desk, Home
from agent.lab.kubernetes.facts import Facts
from agent.lab.kubernetes.report import Report
from agent.lab.kubernetes.tokens import Tokens
from agent.lab.kubernetes.volumes import Volumes
from agent.lab.kubernetes.waiting import Ending, beside, cause, first
from agent.lab.sandbox import Sandbox
from agent.lab.services import hosts, resolv_conf

logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS = 0.5, 5.0
_NO_DNS = "# a node of the lab knows no DNS server\n"


class PodRun:
    """Runs one pod from its binding to a node until its object is gone."""

    def __init__(self, desk: Desk, home: Home, pod: RunnablePod, stored: Object, address: Pair | None) -> None:
        """address: None for a pod in its node's network. stored: the status that the API server has."""
        self.pod = pod
        self.address = address
        self.report = Report(desk.writes, home.node, pod, stored)
        self._desk = desk
        self._home = home
        self._ending = Ending()
        self._news = asyncio.Event()
        self._box: Sandbox | None = None
        self._containers: Containers | None = None
        self._volumes = Volumes(desk.layout, pod)
        account = pod.spec.service_account_name
        self._tokens = Tokens(desk.writes, pod.metadata, account, self._volumes.needed_tokens())
        self._complaint = ""

    @property
    def node(self) -> str:
        return self._home.node.name

    @property
    def is_ending(self) -> bool:
        return self._ending.has_begun

    @property
    def box(self) -> Sandbox | None:
        """Where it lives, while it does."""
        return self._box

    @property
    def hostname(self) -> str:
        return self.node if self.address is None else self.pod.spec.hostname or self.pod.metadata.name

    def container_names(self) -> dict[str, str]:
        """The runtime's names of its running containers, by their own."""
        return self._containers.running() if self._containers is not None else {}

    def complaint(self) -> str:
        """What it waits for, if it does."""
        return self._complaint

    def end(self, seconds: float) -> None:
        """Ask it to end, within so long; the time can only be made shorter."""
        self._ending.begin(seconds)

    def notice(self, pod: RunnablePod) -> None:
        """Something in the cluster has changed, the pod's own labels and annotations perhaps."""
        self.pod = pod
        self._news.set()

    def write_hosts(self, named: Sequence[tuple[Service, Sequence[str]]]) -> None:
        """Its /etc/hosts, in place: the mount follows the inode. `named`: services and what their names stand for."""
        if self._box is not None:
            text = hosts(self.pod, self.hostname, self._box.address.texts, named)
            text += "".join(f"{alias.ip} {' '.join(alias.hostnames)}\n" for alias in self.pod.spec.host_aliases)
            self._box.write_hosts(text)

    async def await_end(self) -> None:
        """In place of live(), for a pod that has ended already: wait until its object is to go."""
        await self._ending.begun()
        await self._forget()

    async def live(self) -> None:
        """From volumes to the end of its object. Cancelled, it leaves what it has made to the lab's record."""
        async with beside(self.report.keep()):
            try:
                await self._run()
            except* WeftError as group:
                reason = str(cause(group))
                logger.error("pod cannot run", extra={"pod": self.pod.full_name, "reason": reason})
                self._say("Failed", reason)
                self.report.refuse("CannotRun", reason)
            await self._ending.begun()
        await self.report.flush()
        await self._forget()

    async def _run(self) -> None:
        """All but the reports; what was made is taken away."""
        try:
            if await self._unless_ending(self._make_volumes()) and await self._unless_ending(self._enter()):
                await self._contain()
        finally:
            if self._box is not None:
                await self._leave(self._box)
            await asyncio.to_thread(self._volumes.remove)

    async def _contain(self) -> None:
        assert self._box is not None, "a pod whose containers run has a sandbox"
        self._complaint = ""
        self._containers = Containers(
            self._desk, self._home, self._box, self.hostname, self._facts, self._volumes, self.report
        )
        async with beside(self._keep_volumes()):
            await self._containers.run(self._ending, self._say)

    async def _unless_ending(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work was done before the pod was asked to end."""
        return await first(work, self._ending.begun()) == 0

    async def _make_volumes(self) -> None:
        """Wait until all that the volumes hold is there."""
        pauses = delays(_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS)
        while True:
            self._news.clear()
            try:
                await self._tokens.renew()
                self._volumes.make(self._source())
                return
            except (WeftError, OSError) as exc:
                self._complain("FailedMount", f"MountVolume.SetUp failed: {exc}")
            await first(self._news.wait(), asyncio.sleep(next(pauses)))

    async def _keep_volumes(self) -> None:
        """Bring the files up to date with the cluster, for ever."""
        while True:
            await first(self._news.wait(), asyncio.sleep(self._tokens.seconds_until_due()))
            self._news.clear()
            try:
                await self._tokens.renew()
                self._volumes.update(self._source())
                self._complaint = ""
            except (WeftError, OSError) as exc:  # what is there stays, as with a kubelet
                self._complain("FailedMount", f"MountVolume.SetUp failed: {exc}")
                await asyncio.sleep(_FIRST_DELAY_SECONDS)

    async def _enter(self) -> None:
        """Wait for a sandbox in which the node's CNI chain lets the pod start."""
        desk, home = self._desk, self._home
        pauses = delays(_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS)
        while True:
            try:
                box = await sandbox.create(
                    desk.layout, desk.ledger, home.node, self.pod, self.address, self._resolv_conf()
                )
                self._box = box
                self.write_hosts(desk.named())
                if self.address is not None:
                    await home.chain.add(self.pod, box.netns, self.address)
                self.report.set_addresses((self.address or home.node.address).texts)
                return
            except WeftError as exc:
                self._complain("FailedCreatePodSandBox", f"Failed to create pod sandbox: {exc}")
            if self._box is not None:
                await self._leave(self._box)
            await asyncio.sleep(next(pauses))

    async def _leave(self, box: Sandbox) -> None:
        self._box = None
        try:
            if self.address is not None:
                await self._home.chain.delete(self.pod, box.netns, self.address)
        except WeftError as exc:
            logger.warning("pod ends without the CNI chain", extra={"pod": self.pod.full_name, "reason": exc})
        finally:
            await sandbox.remove(box, self._desk.ledger)

    async def _forget(self) -> None:
        pauses = delays(_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS)
        while True:
            try:
                await self._desk.writes.forget(self.pod.metadata)
                return
            except WeftError as exc:
                logger.warning("pod's object stays", extra={"pod": self.pod.full_name, "reason": exc})
            await asyncio.sleep(next(pauses))

    def _resolv_conf(self) -> str:
        spec = self.pod.spec
        is_of_node = spec.host_network and spec.dns_policy == "ClusterFirst"
        if is_of_node or spec.dns_policy in ("Default", "None"):
            return _NO_DNS
        return resolv_conf(self.pod.metadata.namespace, str(DNS_SERVICE))

    def _facts(self) -> Facts:
        return Facts(self.pod, self.report.addresses, self._home.node.address.texts)

    def _source(self) -> Source:
        return Source(self._facts(), self._desk.keys, self._tokens.texts)

    def _complain(self, reason: str, message: str) -> None:
        if message != self._complaint:
            logger.info("pod waits", extra={"pod": self.pod.full_name, "reason": message})
            self._complaint = message
            self._say(reason, message)

    def _say(self, reason: str, message: str, container: str = "") -> None:
        self._desk.events.say(self.pod.metadata, self.node, reason, message, container)
