"""securityContext of pods and containers: the privileges of a process."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from agent.api.objects import Part

_CAPABILITY = re.compile(r"(?!CAP_)[A-Z][A-Z0-9_]*")


def _capability(value: str) -> str:
    if not _CAPABILITY.fullmatch(value):
        raise ValueError("accepted are ALL and names such as NET_ADMIN, without CAP_")
    return value


def _no_sysctls(value: tuple[object, ...]) -> tuple[object, ...]:
    if value:
        raise ValueError("sysctls are not supported; accepted is none")
    return value


Id = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Capability = Annotated[StrictStr, AfterValidator(_capability)]


class Capabilities(Part):
    """What is added to and dropped from a runtime's default set; ALL is every one."""

    add: tuple[Capability, ...] = ()
    drop: tuple[Capability, ...] = ()


class SeccompProfile(Part):
    type: Literal["RuntimeDefault", "Unconfined"]  # Localhost: a node's own file, which no lab has


class AppArmorProfile(Part):
    """Accepted, and without effect where the kernel has no AppArmor."""

    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]


class PodSecurityContext(Part):
    """What holds for all containers that do not say otherwise, and groups of the pod's volumes."""

    run_as_user: Id | None = None
    run_as_group: Id | None = None
    run_as_non_root: StrictBool | None = None
    fs_group: Id | None = None
    supplemental_groups: tuple[Id, ...] = ()
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    sysctls: Annotated[tuple[object, ...], AfterValidator(_no_sysctls)] = ()


class SecurityContext(Part):
    """A container's own; None is what its pod says, and then the runtime's default."""

    run_as_user: Id | None = None
    run_as_group: Id | None = None
    run_as_non_root: StrictBool | None = None
    privileged: StrictBool = False
    allow_privilege_escalation: StrictBool | None = None
    read_only_root_filesystem: StrictBool = False
    capabilities: Capabilities = Capabilities()
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    proc_mount: Literal["", "Default"] = ""

    @model_validator(mode="after")
    def _privileges_agree(self) -> Self:
        if self.allow_privilege_escalation is False and self.privileged:
            raise ValueError("allowPrivilegeEscalation false is not accepted with privileged")
        return self
