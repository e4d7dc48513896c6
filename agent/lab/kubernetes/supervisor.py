"""What keeps a lab's nodes in a cluster: its kubelet, kube-proxy and heartbeats, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from agent.api.cluster_network import EndpointSlice
from agent.api.kubernetes import Namespace, Resource, Service, parse, stated_pod, to_pod
from agent.apiserver.cluster import ApiServer
from agent.apiserver.connection import Connection
from agent.errors import WeftError
from agent.kube import CONFIG_MAP, ENDPOINT_SLICE, NAMESPACE, POD, SECRET, SERVICE, Kind, Object
from agent.lab import services
from agent.lab.addresses import NodePlan
from agent.lab.cni import Chain
from agent.lab.kubernetes import endpoints, streaming
from agent.lab.kubernetes.desk import Desk, Home
from agent.lab.kubernetes.events import Events
from agent.lab.kubernetes.kubelet import Kubelet
from agent.lab.kubernetes.nodes import Nodes, withdraw
from agent.lab.kubernetes.overview import line
from agent.lab.kubernetes.writes import Writes
from agent.lab.layout import Layout
from agent.lab.oci.runtime import Runtime, read_machine
from agent.lab.prober import Prober
from agent.lab.record import Ledger
from agent.lab.view import View
from agent.manifests import Key

logger = logging.getLogger(__name__)

KINDS = (POD, SERVICE, ENDPOINT_SLICE, CONFIG_MAP, SECRET, NAMESPACE)
_TYPED = (SERVICE.name, ENDPOINT_SLICE.name, NAMESPACE.name)
_REPORT_SECONDS = 0.1  # between two reports, however much changes, or longer:
_REPORT_SHARE = 3.0  # for so many times as long as one takes
_LEAVE_SECONDS = 10.0


def chains(layout: Layout, nodes: Iterable[NodePlan]) -> dict[str, Chain]:
    """The CNI chain of each node, where a node has it."""
    found: dict[str, Chain] = {}
    for node in nodes:
        root = layout.node_root(node.name)
        found[node.name] = Chain(root / "etc/cni/net.d", root / "opt/cni/bin", root / "run/weft")
    return found


async def leave(kubeconfig: Path, nodes: Iterable[str], lab: str) -> None:
    """Take the nodes out of the cluster; where that fails, a warning says what stays."""
    try:
        async with asyncio.timeout(_LEAVE_SECONDS), _connected(kubeconfig) as connection:
            await withdraw(ApiServer(connection), nodes, lab)
    except (WeftError, TimeoutError) as exc:
        logger.warning("nodes stay in the cluster, `kubectl delete node` removes them", extra={"reason": exc})


@contextlib.asynccontextmanager
async def _connected(kubeconfig: Path) -> AsyncIterator[Connection]:
    connection = await Connection.open(kubeconfig)
    try:
        yield connection
    finally:
        await connection.close()


def _read(stored: Object) -> Resource | None:
    return parse(stored, "the API server") if stored["kind"] in _TYPED else None


class Supervisor:
    """The nodes of a cluster, on the ground of a lab."""

    def __init__(
        self,
        layout: Layout,
        ledger: Ledger,
        nodes: Sequence[NodePlan],
        chains: Mapping[str, Chain],
        kubeconfig: Path,
    ) -> None:
        self._layout = layout
        self._ledger = ledger
        self._nodes = nodes
        self._kubeconfig = kubeconfig
        self._machine = read_machine()
        self._homes = {node.name: Home(node, chains[node.name], Prober(layout, node.name)) for node in nodes}
        self._pods_changed = asyncio.Event()
        for node in nodes:
            root = layout.node_root(node.name)
            for folder in ("run/weft", "var"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            (root / "var/run").symlink_to("../run")

    async def run(self) -> None:
        """Serve until cancelled. What the lab has made is left to record.tear_down, its nodes to leave()."""
        async with _connected(self._kubeconfig) as connection:
            cluster, writes = ApiServer(connection), Writes(connection)
            view, events = View(cluster, KINDS, _read), Events(writes)
            kubelet = Kubelet(self._desk(view, writes, events), self._homes, view, self._pods_changed.set)
            nodes, synced = Nodes(cluster, self._nodes, self._layout.name), asyncio.Event()
            async with self._streaming(kubelet), asyncio.TaskGroup() as group:
                group.create_task(view.follow(synced))
                group.create_task(events.deliver())
                for home in self._homes.values():
                    group.create_task(home.prober.run())
                await synced.wait()
                await nodes.register()
                group.create_task(nodes.keep_alive())
                group.create_task(kubelet.follow())
                group.create_task(self._serve_services(view))
                group.create_task(self._keep_report(kubelet, view))

    def _desk(self, view: View, writes: Writes, events: Events) -> Desk:
        def keys(kind: Kind, namespace: str, name: str) -> Object | None:
            return view.raw(Key(kind.name, namespace, name))

        def named() -> list[tuple[Service, Sequence[str]]]:
            slices = view.typed(EndpointSlice)
            return [(service, endpoints.published(service, slices)) for service in view.typed(Service)]

        return Desk(
            layout=self._layout,
            ledger=self._ledger,
            runtime=Runtime(self._layout.root),
            machine=self._machine,
            writes=writes,
            events=events,
            keys=keys,
            services=lambda: view.typed(Service),
            named=named,
        )

    @contextlib.asynccontextmanager
    async def _streaming(self, kubelet: Kubelet) -> AsyncIterator[None]:
        """Answer what the API server asks of each node: logs, and ports of pods."""
        authority = streaming.client_authority(self._kubeconfig)
        access = streaming.Access(kubelet.netns, self._layout.pod_log)
        async with contextlib.AsyncExitStack() as stack:
            for node in self._nodes:
                netns = self._layout.netns(node.name)
                await stack.enter_async_context(streaming.serving(netns, node, authority, access))
            yield

    async def _serve_services(self, view: View) -> None:
        def rules() -> str:
            return services.ruleset(endpoints.backends(view.typed(Service), view.typed(EndpointSlice)))

        await services.keep_loaded(view.changed(), rules, [self._layout.netns(node.name) for node in self._nodes])

    async def _keep_report(self, kubelet: Kubelet, view: View) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            namespaces = {found.metadata.name: found.metadata.labels for found in view.typed(Namespace)}
            pods = []
            for run in kubelet.runs:
                metadata = run.pod.metadata
                stored = view.raw(Key(POD.name, metadata.namespace, metadata.name))
                if stored is not None and stored["metadata"]["uid"] == metadata.uid:
                    pods.append(line(run, to_pod(stated_pod(stored, "the API server")), namespaces))
            pods.sort(key=lambda pod: (pod["node"], pod["full_name"]))
            report = {"is_applied": True, "problems": [], "kept": [], "processes": [], "pods": pods}
            temporary = self._layout.report.with_suffix(".new")
            temporary.write_text(json.dumps(report, indent=1))
            temporary.rename(self._layout.report)
            await asyncio.sleep(max(_REPORT_SECONDS, _REPORT_SHARE * (clock() - began)))
            await self._pods_changed.wait()
            self._pods_changed.clear()
