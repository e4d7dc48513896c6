"""The ground that a lab stands on, before anything runs: its claim on a name, its folders, cgroups and network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from agent.errors import ConflictError
from agent.lab import cgroups, namespaces, network
from agent.lab.addresses import NodePlan
from agent.lab.cni import Chain
from agent.lab.layout import CONTROL, FABRIC, RUN, Layout
from agent.lab.record import ApiServer, Ledger, ProcessId, Record


def claim(layout: Layout, nodes: Sequence[NodePlan], server: ApiServer | None = None) -> Ledger:
    """Make the lab's folder and write down what is about to be made; ConflictError when such a lab is up."""
    RUN.mkdir(exist_ok=True)
    try:
        layout.root.mkdir(mode=0o755)
    except FileExistsError as exc:
        raise ConflictError(
            f"lab {layout.name} is up already, or was left behind; `weft lab down --name {layout.name}` removes it"
        ) from exc
    if layout.cgroup.exists():
        layout.root.rmdir()
        raise ConflictError(f"{layout.cgroup} exists and is not this lab's; remove it, or choose another --name")
    return Ledger(
        layout.record,
        Record(
            supervisor=ProcessId.of(os.getpid()),
            nodes=tuple(node.name for node in nodes),
            cgroup=str(layout.cgroup),
            mounts=(str(layout.bpf),),
            server=server,
        ),
    )


def build(layout: Layout, ledger: Ledger, nodes: Sequence[NodePlan], chains: Mapping[str, Chain]) -> None:
    """Folders, cgroups, the bpffs and the network of a lab without pods.

    The controller has a namespace of its own in it; an API server has one already, which joins the lab's.
    """
    for folder in (layout.bpf, layout.ca, layout.logs / "pods", layout.root / "pods"):
        folder.mkdir(parents=True)
    namespaces.mount_bpf(layout.bpf)
    for node in nodes:
        layout.node(node.name).mkdir()
        chains[node.name].install()
        (layout.bpf / node.name).mkdir()
        cgroups.create(layout.node_cgroup(node.name) / "kubepods")
    server = ledger.record.server
    for place in (FABRIC, *(() if server else (CONTROL,)), *(node.name for node in nodes)):
        ledger.create_netns(layout.netns(place))
    fabric = layout.netns(FABRIC)
    network.build_fabric(fabric, nodes)
    network.join_control(fabric, server.netns if server else layout.netns(CONTROL), nodes)
    for node in nodes:
        network.join_node(fabric, layout.netns(node.name), node, [other for other in nodes if other != node])
