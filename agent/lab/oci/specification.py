"""What a manifest's container becomes in OCI's runtime specification (config.json, version 1.0.2). Rules only.

It gives what containerd gives for the same manifest on a real node, with one exception: an
image. The machine's root stands in for it, see root.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from agent.api.pods.containers import RunnableContainer
from agent.api.pods.quantities import quantity
from agent.api.pods.spec import RunnablePod
from agent.errors import InvalidObjectError
from agent.kube import Object
from agent.lab.oci import privileges
from agent.lab.oci.privileges import Machine

ROOT = "root"  # of the container's file system, in its bundle
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the machine (a volume, /etc/hosts, …) that a container sees at `target`, an absolute path.

    A missing target is made, a missing source fails the start.
    """

    source: Path
    target: str
    is_read_only: bool = False
    propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container runs."""

    netns: Path  # its pod's network namespace, or its node's for a pod with hostNetwork
    cgroup: str  # from the root of every hierarchy, /weft-lab/node-1/kubepods/podUID/NAME; the runtime makes it
    hostname: str
    programs: Path  # first in PATH: where an image has its own programs
    machine: Machine  # see runtime.read_machine


def specification(
    pod: RunnablePod,
    container: RunnableContainer,
    place: Place,
    mounts: Sequence[Mount],
    environment: Mapping[str, str],
    words: Sequence[str],
) -> Object:
    """The config.json of a container.

    environment: the manifest's variables, resolved; PATH and HOSTNAME are added where they are
    missing, and HOME, the user's, by runc. words: the command line with $(NAME) replaced.
    InvalidObjectError says what cannot be: no command (there is no image that has one), a
    capability that does not exist, or a root user that runAsNonRoot forbids.
    """
    if not words:
        raise InvalidObjectError(
            f"Pod {pod.full_name}: container {container.name}: no command; the lab runs programs of this machine, "
            "not images"
        )
    defaults = {"PATH": f"{place.programs}:{_PATH}", "HOSTNAME": place.hostname}
    bounding = privileges.capabilities(pod, container, place.machine)
    context = container.security_context
    return {
        "ociVersion": "1.0.2",
        "hostname": place.hostname,
        "root": {"path": ROOT, "readonly": context.read_only_root_filesystem},
        "process": {
            "user": privileges.user(pod, container),
            "args": list(words),
            "env": [f"{name}={value}" for name, value in {**defaults, **environment}.items()],
            "cwd": container.working_dir or "/",
            # Neither inheritable nor ambient: a user who is not root has none after execve, as with containerd.
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), bounding),
            "noNewPrivileges": context.allow_privilege_escalation is False,
        },
        "mounts": [*_system_mounts(is_privileged=context.privileged), *map(_bind, _parents_first(mounts))],
        "linux": _linux(pod, container, place, mounts, bounding),
    }


def _linux(
    pod: RunnablePod, container: RunnableContainer, place: Place, mounts: Sequence[Mount], bounding: list[str]
) -> Object:
    is_privileged = container.security_context.privileged
    seccomp = privileges.seccomp(pod, container, place.machine, bounding)
    return {
        "cgroupsPath": place.cgroup,
        "namespaces": _namespaces(place, host_pid=pod.spec.host_pid, is_privileged=is_privileged),
        "resources": _resources(container),
        "rootfsPropagation": _root_propagation(mounts),
        "maskedPaths": [] if is_privileged else list(privileges.MASKED_PATHS),
        "readonlyPaths": [] if is_privileged else list(privileges.READ_ONLY_PATHS),
        **({} if seccomp is None else {"seccomp": seccomp}),
    }


def _namespaces(place: Place, *, host_pid: bool, is_privileged: bool) -> list[Object]:
    own = ["mount", "ipc", "uts", *([] if host_pid else ["pid"]), *([] if is_privileged else ["cgroup"])]
    return [*({"type": kind} for kind in own), {"type": "network", "path": str(place.netns)}]


def _resources(container: RunnableContainer) -> Object:
    """Devices are those of the runtime's own list (null, zero, full, random, urandom, tty), or all.

    Memory is limited; cpu is not: a lab's nodes have no share of the machine to hand out.
    """
    found: Object = {"devices": [{"allow": container.security_context.privileged, "access": "rwm"}]}
    if limit := container.resources.limits.get("memory"):
        found["memory"] = {"limit": int(quantity(limit))}
    return found


def _system_mounts(*, is_privileged: bool) -> list[Object]:
    """The mounts that every container has. No cgroups among them: a machine with both versions is not one to show."""
    fixed = ["nosuid", "noexec", "nodev"]
    devices = [
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", [*fixed[:2], "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/dev/shm", "tmpfs", "shm", [*fixed, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", fixed),
    ]
    return [
        _mount("/proc", "proc", "proc", fixed),
        *([_mount("/dev", "bind", "/dev", ["rbind", "rprivate"])] if is_privileged else devices),
        _mount("/sys", "sysfs", "sysfs", [*fixed, "rw" if is_privileged else "ro"]),
    ]


def _bind(mount: Mount) -> Object:
    access = "ro" if mount.is_read_only else "rw"
    return _mount(mount.target, "bind", str(mount.source), ["rbind", _PROPAGATION[mount.propagation], access])


def _mount(target: str, kind: str, source: str, options: list[str]) -> Object:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _parents_first(mounts: Sequence[Mount]) -> list[Mount]:
    """A mount at /a must not hide one at /a/b."""
    return sorted(mounts, key=lambda mount: len(PurePosixPath(mount.target).parts))


def _root_propagation(mounts: Sequence[Mount]) -> str:
    """What the container's root must let through for the mounts that want it."""
    wanted = {mount.propagation for mount in mounts}
    if "Bidirectional" in wanted:
        return "rshared"
    return "rslave" if "HostToContainer" in wanted else "rprivate"
