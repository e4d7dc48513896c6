"""Where a container is in its life, and what a pod's status makes of it. Rules only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.api.pods.containers import RunnableContainer
from agent.api.pods.spec import RunnablePod
from agent.kube import Object

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Waiting:
    """It does not run, and why."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    id: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over."""

    id: str
    exit_code: int
    since: datetime
    until: datetime
    message: str = ""

    @property
    def reason(self) -> str:
        return "Completed" if self.exit_code == 0 else "Error"


@dataclass(frozen=True, slots=True)
class ContainerState:
    """`last` is the run before `now`; is_started: its startup probe has succeeded, or it has none."""

    now: Waiting | Running | Ended
    last: Ended | None = None
    restarts: int = 0
    is_started: bool = False
    is_ready: bool = False

    def started(self, id: str, at: datetime, restarts: int, *, is_started: bool) -> ContainerState:
        """Another run has begun."""
        return replace(self, now=Running(id, at), restarts=restarts, is_started=is_started, is_ready=False)

    def ended(self, ended: Ended, restarts: int) -> ContainerState:
        return replace(self, now=ended, restarts=restarts, is_started=False, is_ready=False)

    def waiting(self, waiting: Waiting) -> ContainerState:
        """It will be started, again if it has run, and waits for that."""
        return replace(self, now=waiting, last=self.now if isinstance(self.now, Ended) else self.last)


def phase(pod: RunnablePod, states: Mapping[str, ContainerState]) -> str:
    """status.phase: a pod is Pending until each of its containers has been started once."""
    policy = pod.spec.restart_policy
    init = [states[container.name].now for container in pod.spec.init_containers if not container.is_sidecar]
    if policy == "Never" and any(isinstance(now, Ended) and now.exit_code for now in init):
        return "Failed"
    main = [states[container.name] for container in pod.spec.containers]
    if any(isinstance(state.now, Waiting) and state.last is None for state in main):
        return "Pending"
    if policy == "Always" or not all(isinstance(state.now, Ended) for state in main):
        return "Running"
    if all(isinstance(state.now, Ended) and state.now.exit_code == 0 for state in main):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def pod_status(
    pod: RunnablePod,
    states: Mapping[str, ContainerState],
    addresses: Sequence[str],
    host_addresses: Sequence[str],
    times: Mapping[str, str],
    before: Object,
) -> Object:
    """status of a pod.

    addresses: empty until the pod has its network. times: startTime and what of now, as an API server writes it.
    before: the status as it was written last; a condition that stays keeps its time. Those of others are not here:
    a strategic merge patch leaves them alone.
    """
    now_phase = phase(pod, states)
    return {
        "phase": now_phase,
        **({"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]} if addresses else {}),
        "hostIP": host_addresses[0],
        "hostIPs": [{"ip": address} for address in host_addresses],
        "startTime": times["startTime"],
        "conditions": conditions(pod, states, now_phase, has_network=bool(addresses), now=times["now"], before=before),
        "initContainerStatuses": [_container_status(found, states[found.name]) for found in pod.spec.init_containers],
        "containerStatuses": [_container_status(found, states[found.name]) for found in pod.spec.containers],
    }


def conditions(
    pod: RunnablePod,
    states: Mapping[str, ContainerState],
    now_phase: str,
    *,
    has_network: bool,
    now: str,
    before: Object,
) -> list[Object]:
    """The kubelet's conditions, each with the time of its last change."""
    main = [states[container.name] for container in pod.spec.containers]
    unready = [container.name for container in pod.spec.containers if not states[container.name].is_ready]
    is_initialized = all(_is_initialized(container, states) for container in pod.spec.init_containers)
    wanted: dict[str, tuple[bool, str, str]] = {
        "PodReadyToStartContainers": (has_network, "", ""),
        "Initialized": (is_initialized, "ContainersNotInitialized", "init containers have not succeeded"),
    }
    if now_phase in ("Succeeded", "Failed"):
        ready = (False, f"Pod{'Completed' if now_phase == 'Succeeded' else 'Failed'}", "")
    else:
        is_ready = now_phase == "Running" and all(state.is_ready for state in main)
        ready = (is_ready, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    wanted |= {"Ready": ready, "ContainersReady": ready}
    known = {found["type"]: found for found in before.get("conditions") or []}
    return [_condition(type, *found, known.get(type) or {}, now) for type, found in wanted.items()]


def _condition(type: str, holds: bool, reason: str, message: str, before: Object, now: str) -> Object:
    status = str(holds)
    since = before["lastTransitionTime"] if before.get("status") == status else now
    why = {} if holds or not reason else {"reason": reason, "message": message}
    return {"type": type, "status": status, "lastProbeTime": None, "lastTransitionTime": since, **why}


def _is_initialized(container: RunnableContainer, states: Mapping[str, ContainerState]) -> bool:
    state = states[container.name]
    if container.is_sidecar:
        return state.is_started
    return isinstance(state.now, Ended) and state.now.exit_code == 0


def _container_status(container: RunnableContainer, state: ContainerState) -> Object:
    id = state.now.id if not isinstance(state.now, Waiting) else state.last.id if state.last else ""
    return {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": state.is_ready,
        "started": state.is_started,
        "restartCount": state.restarts,
        "state": _state(state.now),
        **({"lastState": _state(state.last)} if state.last else {}),
        **({"containerID": f"runc://{id}"} if id else {}),
    }


def _state(state: Waiting | Running | Ended) -> Object:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        case Running(_, since):
            return {"running": {"startedAt": text(since)}}
        case Ended():
            return {
                "terminated": {
                    "exitCode": state.exit_code,
                    "reason": state.reason,
                    "startedAt": text(state.since),
                    "finishedAt": text(state.until),
                    "containerID": f"runc://{state.id}",
                    **({"message": state.message} if state.message else {}),
                }
            }


def text(moment: datetime) -> str:
    """A moment as an API server writes it."""
    return moment.astimezone(UTC).strftime(TIME_FORMAT)


def first_states(pod: RunnablePod) -> dict[str, ContainerState]:
    """Before anything runs."""
    every: Iterable[RunnableContainer] = (*pod.spec.init_containers, *pod.spec.containers)
    reason = "PodInitializing" if pod.spec.init_containers else "ContainerCreating"
    return {container.name: ContainerState(Waiting(reason)) for container in every}
