"""What keeps a lab running: builds it, then follows files, objects and processes until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from agent import manifests
from agent.api.kubernetes import Deployment, Pod, Service, parse
from agent.errors import InvalidObjectError, NotFoundError, WeftError
from agent.kube import DEPLOYMENT, NODE, POD, Object, StateDirectory
from agent.lab import deployments, processes, services
from agent.lab.addresses import NodePlan
from agent.lab.files import ManifestFiles
from agent.lab.kubelet import Kubelet
from agent.lab.layout import Layout
from agent.lab.prober import Prober
from agent.lab.processes import PROXY_ACCOUNT, Standing
from agent.lab.record import Ledger
from agent.lab.store import Store
from agent.lab.tokens import RENEWAL_SECONDS, Bearer, Signer, Subject, write_secret
from agent.lab.view import View
from agent.manifests import Key, Manifest, Problem
from agent.wire import SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What the supervisor knows and nobody else; written for `weft lab status`."""

    is_applied: bool = False  # the manifests that were there at first are all in
    problems: list[Problem] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    processes: list[Standing] = field(default_factory=list)


class Supervisor:
    """A lab that is up."""

    def __init__(
        self, layout: Layout, ledger: Ledger, nodes: list[NodePlan], files: ManifestFiles, plans: list[processes.Plan]
    ) -> None:
        self._layout = layout
        self._nodes = nodes
        self._files = files
        self._plans = plans
        self._cluster = StateDirectory.create_at(layout.state)
        self._view = View(self._cluster)
        self._store = Store(self._cluster, [node.name for node in nodes])
        self._signer = Signer.create_at(layout.signing_key, layout.jwks)
        self._probers = {node.name: Prober(layout, node.name) for node in nodes}
        by_name = {node.name: node for node in nodes}
        self._kubelet = Kubelet(layout, ledger, by_name, self._cluster, self._view, self._signer, self._probers)
        self._report = Report()

    async def run(self) -> None:
        """Serve until cancelled. What the lab has made is left to record.tear_down."""
        await self._register()
        synced = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._view.follow(synced))
            await synced.wait()
            for prober in self._probers.values():
                group.create_task(prober.run())
            for plan in self._plans:
                standing = Standing(plan.name)
                self._report.processes.append(standing)
                log = self._layout.log(plan.name)
                group.create_task(processes.supervise(plan, log, standing, self._write_report))
            group.create_task(self._kubelet.follow())
            group.create_task(self._follow_files())
            group.create_task(self._follow_deployments())
            group.create_task(self._follow_services())
            group.create_task(self._renew_tokens())

    async def _register(self) -> None:
        """The lab's nodes, and the namespace and account of its node proxies."""
        await self._store.ensure_namespace(SYSTEM_NAMESPACE)
        for node in self._nodes:
            await self._store.create(NODE, _node_object(node))
        self._write_tokens()

    async def _follow_files(self) -> None:
        texts: dict[str, tuple[Manifest, ...]] = {}
        readings: dict[str, manifests.Reading] = {}
        async with contextlib.aclosing(self._files.texts()) as changes:  # type: ignore[type-var]
            async for changed in changes:
                for path, text in changed.items():
                    file = str(path)
                    readings[file] = manifests.read(text, file)
                    texts[file] = manifests.still_good(texts.get(file, ()), readings[file])
                await self._bring(texts, readings)

    async def _bring(self, files: Mapping[str, Sequence[Manifest]], readings: Mapping[str, manifests.Reading]) -> None:
        wanted, problems = manifests.combine(files)
        problems += [problem for reading in readings.values() for problem in reading.problems]
        problems += await self._store.bring(wanted)
        for problem in problems:
            if problem not in self._report.problems:
                logger.error("manifest has a problem, the last good state stays", extra={"reason": problem.text})
        self._report.problems = sorted(problems)
        self._report.kept = sorted(kept for reading in readings.values() for kept in reading.kept)
        self._report.is_applied = True
        self._write_report()

    async def _follow_deployments(self) -> None:
        changed = self._view.changed()
        while True:
            await changed.wait()
            changed.clear()
            for deployment in self._view.typed(Deployment):
                try:
                    await self._drive(deployment)
                except WeftError as exc:
                    logger.error("deployment is stuck", extra={"deployment": deployment.full_name, "reason": exc})
            for orphan in deployments.orphans(self._view.typed(Deployment), self._view.typed(Pod)):
                await self._store.remove(POD, orphan.pod.metadata.namespace, orphan.pod.metadata.name)

    async def _drive(self, deployment: Deployment) -> None:
        metadata = deployment.metadata
        stored = self._view.raw(Key("Deployment", metadata.namespace, metadata.name))
        if stored is None:
            return
        pods = [_typed(pod) for pod in await self._cluster.list(POD)]
        for step in deployments.plan(deployment, stored, pods, os.urandom(16)):
            match step:
                case deployments.Create(pod):
                    await self._store.create(POD, pod)
                case deployments.End(pod):
                    await self._store.remove(POD, pod.metadata.namespace, pod.metadata.name)
        status = {"status": deployments.status(deployment, stored, pods)}
        with contextlib.suppress(NotFoundError):
            await self._cluster.patch(DEPLOYMENT, metadata.namespace, metadata.name, status)

    async def _follow_services(self) -> None:
        def rules() -> str:
            return services.ruleset(services.backends(self._view.typed(Service), self._view.typed(Pod)))

        await services.keep_loaded(self._view.changed(), rules, [self._layout.netns(node.name) for node in self._nodes])

    async def _renew_tokens(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            self._write_tokens()
            self._kubelet.renew_tokens()

    def _write_tokens(self) -> None:
        for node in self._nodes:
            subject = Subject(
                SYSTEM_NAMESPACE,
                Bearer(PROXY_ACCOUNT, f"lab-{PROXY_ACCOUNT}"),
                Bearer(f"{PROXY_ACCOUNT}-{node.name}", f"lab-{PROXY_ACCOUNT}-{node.name}"),
                Bearer(node.name, f"lab-{node.name}"),
            )
            token = self._signer.sign(subject, int(time.time()))
            write_secret(self._layout.node(node.name) / "token", token.encode())

    def _write_report(self) -> None:
        temporary = self._layout.report.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self._report), indent=1))
        temporary.rename(self._layout.report)


def _typed(pod: Object) -> Pod:
    found = parse(pod, "state directory")
    if not isinstance(found, Pod):
        raise InvalidObjectError("state directory: a pod was expected")
    return found


def _node_object(node: NodePlan) -> Object:
    addresses = [{"type": "InternalIP", "address": address} for address in node.address.texts]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
        "spec": {"podCIDR": str(node.pods_v4), "podCIDRs": [str(node.pods_v4), str(node.pods_v6)]},
        "status": {
            "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
