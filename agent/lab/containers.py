"""What a container of a manifest becomes: a command, an environment, a state. Rules only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.api.kubernetes import Container, Pod
from agent.errors import InvalidObjectError
from agent.kube import Object

_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z_][A-Za-z0-9_.-]*)\))")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ContainerState:
    """Where a container is in its life."""

    restarts: int = 0
    is_running: bool = False
    is_ready: bool = False
    exit_code: int | None = None  # of the run that ended last
    waits_for: str = "ContainerCreating"
    is_done: bool = False  # it ended and will not be started again


def environment(pod: Pod, container: Container, addresses: Sequence[str], host_address: str) -> dict[str, str]:
    """A container's whole environment; nothing of the lab's own gets in.

    Raises InvalidObjectError for a field reference that is not known.
    """
    found = {"PATH": _PATH, "HOME": "/root", "HOSTNAME": pod.metadata.name}
    fields = _fields(pod, addresses, host_address)
    for variable in container.env:
        if variable.value_from is None:
            found[variable.name] = expanded(variable.value, found)
            continue
        path = variable.value_from.field_ref.field_path
        if path not in fields:
            raise InvalidObjectError(
                f"Pod {pod.full_name}: container {container.name}: env {variable.name}: fieldPath {path!r}; "
                f"accepted are {', '.join(fields)}"
            )
        found[variable.name] = fields[path]
    return found


def command(pod: Pod, container: Container, variables: Mapping[str, str]) -> list[str]:
    """The command line; InvalidObjectError without one, for the lab has no images."""
    words = [*container.command, *container.args]
    if not words:
        raise InvalidObjectError(
            f"Pod {pod.full_name}: container {container.name}: no command; the lab runs programs of this machine, "
            "not images"
        )
    return [expanded(word, variables) for word in words]


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """$(NAME) replaced by its value, $$ by $; an unknown name stays as it is, as in Kubernetes."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else variables.get(name, match[0])

    return _REFERENCE.sub(value, text)


def pod_status(pod: Pod, states: Mapping[str, ContainerState], addresses: Sequence[str], host_address: str) -> Object:
    """status of a pod, apart from what others write into it."""
    phase = _phase(states)
    is_ready = phase == "Running" and all(state.is_ready for state in states.values())
    return {
        "phase": phase,
        "podIP": addresses[0],
        "podIPs": [{"ip": address} for address in addresses],
        "hostIP": host_address,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": "True"},
            {"type": "ContainersReady", "status": str(is_ready)},
            {"type": "Ready", "status": str(is_ready)},
        ],
        "containerStatuses": [_container_status(name, state) for name, state in states.items()],
    }


def _phase(states: Mapping[str, ContainerState]) -> str:
    if all(state.is_done for state in states.values()):
        return "Succeeded" if all(state.exit_code == 0 for state in states.values()) else "Failed"
    if any(state.is_running or state.restarts for state in states.values()):
        return "Running"
    return "Pending"


def _container_status(name: str, state: ContainerState) -> Object:
    if state.is_running:
        now: Object = {"running": {}}
    elif state.is_done:
        now = {"terminated": {"exitCode": state.exit_code}}
    else:
        now = {"waiting": {"reason": state.waits_for}}
    return {"name": name, "ready": state.is_ready, "restartCount": state.restarts, "state": now}


def _fields(pod: Pod, addresses: Sequence[str], host_address: str) -> dict[str, str]:
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.podIP": addresses[0],
        "status.podIPs": ",".join(addresses),
        "status.hostIP": host_address,
    }
