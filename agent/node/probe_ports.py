"""The ports of a pod that its kubelet has to reach: those of its own probes and hooks. Pure rules.

The kubelet goes past policy, and whoever writes pods can have it call where they like (`host` of
a probe). So it is let through only where the called pod itself asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.kube import Object
from agent.node.layout import POD_PROBE_PORTS

_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_HOOKS: Final = ("postStart", "preStop")
_ACTIONS: Final = ("httpGet", "tcpSocket", "grpc")


def probe_ports(spec: Object) -> tuple[int, ...]:
    """From a v1 PodSpec, in ascending order and the first POD_PROBE_PORTS only; what cannot be read is none."""
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    found = {port for container in containers for port in _ports(container)}
    return tuple(sorted(found))[:POD_PROBE_PORTS]


def _ports(container: Object) -> Iterator[int]:
    named = {port.get("name"): port.get("containerPort") for port in container.get("ports") or []}
    for action in _actions(container):
        # With a host it is for somebody else.
        port = str(action.get("port")) if not action.get("host") else ""
        number = port if port.isdecimal() else str(named.get(port))
        if number.isdecimal() and 0 < int(number) < 65536:
            yield int(number)


def _actions(container: Object) -> Iterator[Object]:
    hooks = container.get("lifecycle") or {}
    for handler in [*(container.get(name) for name in _PROBES), *(hooks.get(name) for name in _HOOKS)]:
        if handler is not None:
            yield from (handler[action] for action in _ACTIONS if handler.get(action))
