"""What the pods of a lab share, and what those of one node share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.api.kubernetes import Service
from agent.lab.addresses import NodePlan
from agent.lab.cni import Chain
from agent.lab.kubernetes.events import Events
from agent.lab.kubernetes.keys import Keys
from agent.lab.kubernetes.writes import Writes
from agent.lab.layout import Layout
from agent.lab.oci.privileges import Machine
from agent.lab.oci.runtime import Runtime
from agent.lab.prober import Prober
from agent.lab.record import Ledger


@dataclass(frozen=True, slots=True)
class Desk:
    """What all pods of a lab share."""

    layout: Layout
    ledger: Ledger
    runtime: Runtime
    machine: Machine
    writes: Writes
    events: Events
    keys: Keys
    services: Callable[[], Sequence[Service]]
    named: Callable[[], Sequence[tuple[Service, Sequence[str]]]]  # services, and what their names stand for


@dataclass(frozen=True, slots=True)
class Home:
    """What the pods of one node share."""

    node: NodePlan
    chain: Chain
    prober: Prober
