"""A container as a kubelet runs it: its command, resources, probes and the end of its life."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictStr, model_validator

from agent.api.fields import Count, Name, PortNumber, Seconds
from agent.api.kubernetes import ContainerPort, ExecAction, HttpGetAction, TcpSocketAction
from agent.api.objects import Part
from agent.api.pods.quantities import Quantity
from agent.api.pods.security import SecurityContext
from agent.api.pods.variables import Variable, VariablesSource
from agent.api.pods.volumes import VolumeMount


class Header(Part):
    name: StrictStr
    value: StrictStr = ""


class HttpProbe(HttpGetAction):
    """An HTTP request that a status from 200 to 399 answers."""

    http_headers: tuple[Header, ...] = ()


class GrpcProbe(Part):
    port: PortNumber
    service: StrictStr = ""


class ContainerProbe(Part):
    """How to ask a container one of the three questions: exactly one of the four actions.

    A gRPC probe can be read, so that whoever runs the pod can say that it will not be asked.
    """

    http_get: HttpProbe | None = None
    tcp_socket: TcpSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GrpcProbe | None = None
    initial_delay_seconds: Count = 0
    period_seconds: Seconds = 10
    timeout_seconds: Seconds = 1
    success_threshold: Seconds = 1
    failure_threshold: Seconds = 3
    termination_grace_period_seconds: Count | None = None  # of a restart that this probe causes

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        if sum(action is not None for action in (self.http_get, self.tcp_socket, self.exec, self.grpc)) != 1:
            raise ValueError("accepted is exactly one of httpGet, tcpSocket, exec, grpc")
        return self


class SleepAction(Part):
    seconds: Count


class LifecycleAction(Part):
    """Exactly one of the two."""

    exec: ExecAction | None = None
    sleep: SleepAction | None = None

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        if (self.exec is None) == (self.sleep is None):
            raise ValueError("accepted is exactly one of exec, sleep")
        return self


class Lifecycle(Part):
    """What is done before a container is asked to end; nothing is done after its start."""

    pre_stop: LifecycleAction | None = None
    post_start: None = None


class Resources(Part):
    """Quantities by resource. Memory limits can be enforced; others say what the container expects."""

    requests: dict[StrictStr, Quantity] = Field(default_factory=dict)
    limits: dict[StrictStr, Quantity] = Field(default_factory=dict)


class RunnableContainer(Part):
    """A container, or an init container; one that restarts always is a sidecar, and starts with those."""

    name: Name
    image: StrictStr = ""
    command: tuple[StrictStr, ...] = ()
    args: tuple[StrictStr, ...] = ()
    working_dir: Annotated[StrictStr, Field(pattern=r"^(/|$)")] = ""
    env: tuple[Variable, ...] = ()
    env_from: tuple[VariablesSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext = SecurityContext()
    resources: Resources = Resources()
    startup_probe: ContainerProbe | None = None
    readiness_probe: ContainerProbe | None = None
    liveness_probe: ContainerProbe | None = None
    lifecycle: Lifecycle = Lifecycle()
    restart_policy: Literal["", "Always"] = ""
    stdin: StrictBool = False
    tty: StrictBool = False

    @property
    def is_sidecar(self) -> bool:
        """Of an init container only: the next one starts when this one has started, not when it has ended."""
        return self.restart_policy == "Always"
