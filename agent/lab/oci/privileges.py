"""The privileges that a manifest gives a container: user, capabilities, seccomp. Rules only.

Sources: securityContext in the Kubernetes API (v1.34), and what containerd 2 makes of it
(internal/cri/opts and oci/spec.go: default capabilities, masked and read-only paths).
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.api.pods.containers import RunnableContainer
from agent.api.pods.security import Capabilities
from agent.api.pods.spec import RunnablePod
from agent.errors import InvalidObjectError
from agent.kube import Object
from agent.lab.commands import CAPABILITIES as DEFAULT_CAPABILITIES
from agent.lab.oci.seccomp import Profile

# include/uapi/linux/capability.h, in the order of their numbers; none has been added since Linux 5.9.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
_DEFAULT = frozenset(name.upper() for name in DEFAULT_CAPABILITIES)

MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/sys/firmware", "/sys/devices/virtual/powercap"),
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Machine:
    """What privileges depend on, besides the manifest."""

    seccomp: Profile  # RuntimeDefault
    capabilities: frozenset[str]  # that there are to give: those of whoever runs containers, without CAP_


def capabilities(pod: RunnablePod, container: RunnableContainer, machine: Machine) -> list[str]:
    """The container's bounding set, as CAP_NAME in the kernel's order.

    ALL are all that the machine has; one that is named is given in any case, and then the start
    fails without it. InvalidObjectError for a name that the kernel has not.
    """
    context = container.security_context
    if context.privileged:
        found = machine.capabilities
    else:
        if unknown := {*context.capabilities.add, *context.capabilities.drop} - {"ALL", *CAPABILITIES}:
            raise InvalidObjectError(
                f"Pod {pod.full_name}: container {container.name}: securityContext.capabilities: "
                f"{', '.join(sorted(unknown))}; accepted are ALL, {', '.join(CAPABILITIES)}"
            )
        found = _changed(context.capabilities, machine.capabilities)
    return [f"CAP_{name}" for name in CAPABILITIES if name in found]


def user(pod: RunnablePod, container: RunnableContainer) -> Object:
    """User and groups; root where nobody says otherwise, for there is no image that could.

    InvalidObjectError for root in spite of runAsNonRoot.
    """
    shared, own = pod.spec.security_context, container.security_context
    uid = _first(own.run_as_user, shared.run_as_user, 0)
    must_not_be_root = shared.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    if must_not_be_root and uid == 0:
        raise InvalidObjectError(
            f"Pod {pod.full_name}: container {container.name}: runAsNonRoot, but the user is root; "
            "accepted is a runAsUser of 1 or more"
        )
    groups = dict.fromkeys([*shared.supplemental_groups, *([] if shared.fs_group is None else [shared.fs_group])])
    return {"uid": uid, "gid": _first(own.run_as_group, shared.run_as_group, 0), "additionalGids": list(groups)}


def seccomp(pod: RunnablePod, container: RunnableContainer, machine: Machine, bounding: list[str]) -> Object | None:
    """The filter of system calls; None for a privileged container, and where no profile is asked for."""
    own = container.security_context
    wanted = own.seccomp_profile or pod.spec.security_context.seccomp_profile
    if own.privileged or wanted is None or wanted.type == "Unconfined":
        return None
    return machine.seccomp.for_capabilities(bounding)


def _changed(changes: Capabilities, every: frozenset[str]) -> frozenset[str]:
    """The default set after additions and removals: ALL first, as add and then as drop, single names after that."""
    found = every if "ALL" in changes.add else _DEFAULT
    found = frozenset() if "ALL" in changes.drop else found
    return (found | set(changes.add)) - set(changes.drop) - {"ALL"}


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
