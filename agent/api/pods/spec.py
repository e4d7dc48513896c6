"""The pod itself: its containers, volumes, and what they share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from agent.api.fields import Count, not_empty
from agent.api.kubernetes import PodStatus
from agent.api.objects import NamedObject, Part
from agent.api.pods.containers import RunnableContainer
from agent.api.pods.security import PodSecurityContext
from agent.api.pods.volumes import VOLUME_KINDS, Volume


class HostAlias(Part):
    """A line of /etc/hosts."""

    ip: StrictStr
    hostnames: tuple[StrictStr, ...] = ()


class RunnablePodSpec(Part):
    node_name: StrictStr = ""
    service_account_name: Annotated[StrictStr, AfterValidator(lambda value: value or "default")] = "default"
    init_containers: tuple[RunnableContainer, ...] = ()
    containers: Annotated[tuple[RunnableContainer, ...], AfterValidator(not_empty)]
    volumes: tuple[Volume, ...] = ()
    security_context: PodSecurityContext = PodSecurityContext()
    host_network: StrictBool = False
    host_pid: StrictBool = Field(default=False, alias="hostPID")
    host_ipc: Literal[False] = Field(default=False, alias="hostIPC")
    host_users: Literal[True] = True
    share_process_namespace: Literal[False] = False
    hostname: StrictStr = ""
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] = "ClusterFirst"
    enable_service_links: StrictBool = True
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    termination_grace_period_seconds: Count = 30
    active_deadline_seconds: StrictInt | None = None
    priority_class_name: StrictStr = ""

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        for what, named in (("container", [*self.init_containers, *self.containers]), ("volume", [*self.volumes])):
            names = [part.name for part in named]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} {', '.join(twice)}: the name is used twice; accepted is once")
        return self

    @model_validator(mode="after")
    def _mounts_can_be_made(self) -> Self:
        volumes = {volume.name: volume for volume in self.volumes}
        for container in (*self.init_containers, *self.containers):
            for mount in container.volume_mounts:
                where = f"container {container.name}: {mount.mount_path}"
                volume = volumes.get(mount.name)
                if volume is None:
                    raise ValueError(f"{where}: no volume {mount.name!r}; there are {', '.join(volumes) or 'none'}")
                if volume.source is None:
                    kinds = ", ".join(volume.unknown_kinds)
                    raise ValueError(f"{where}: volume {mount.name} is {kinds}; accepted are {', '.join(VOLUME_KINDS)}")
        return self


class RunnablePod(NamedObject):
    """v1 Pod, as a kubelet runs it."""

    spec: RunnablePodSpec
    status: PodStatus = PodStatus()

    def volume(self, name: str) -> Volume:
        """A volume that some container mounts."""
        return next(volume for volume in self.spec.volumes if volume.name == name)
