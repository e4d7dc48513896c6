"""The command lines that put a process into its namespaces and cgroup.

util-linux does the work (nsenter, unshare, setpriv): a process is in its network namespace
before it joins its cgroup, so whoever looks into a pod's cgroup sees the pod's namespace only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.lab.layout import RUN, netns_path

READY = b"ready\n"

# What a container runtime gives by default; the lab's root must not be the machine's.
CAPABILITIES = (
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "net_raw",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
)
_JOIN_AND_RUN = 'echo $$ > "$1/cgroup.procs" || exit 125; cd "$2" || exit 125; shift 2; exec "$@"'
_ON_NODE = 'mount --bind "$1" "$2" && exec "$3"'
_PAUSE = (
    'echo $$ > "$1/cgroup.procs" && hostname "$4" && mount --bind "$2" /etc/hosts && '
    "mount --bind \"$3\" /etc/resolv.conf && printf 'ready\\n' && exec sleep infinity >/dev/null"
)


def in_netns(netns: str, cgroup: Path, command: Sequence[str]) -> list[str]:
    """Run a command in a namespace and a cgroup, on the machine's own files."""
    return ["nsenter", f"--net={netns_path(netns)}", "sh", "-c", _JOIN_AND_RUN, "sh", str(cgroup), "/", *command]


def on_node(run: Path, program: int) -> list[str]:
    """Run a program, given as an open file, that sees a node's own folder as /run/weft.

    The file of the program, which may be below that folder, is out of its sight then: so a descriptor names it.
    """
    private = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", _ON_NODE, "sh"]
    return [*private, str(run), str(RUN), f"/proc/self/fd/{program}"]


def pause(netns: str, cgroup: Path, hosts: Path, resolv_conf: Path, hostname: str) -> list[str]:
    """Hold a pod's namespaces. Prints READY once hosts and resolv.conf are in their places."""
    private = ["unshare", "--mount", "--uts", "--propagation", "slave", "sh", "-c", _PAUSE, "sh"]
    arguments = [str(cgroup), str(hosts), str(resolv_conf), hostname]
    return ["nsenter", f"--net={netns_path(netns)}", *private, *arguments]


def in_pod(pause_pid: int, cgroup: Path, command: Sequence[str], *, working_dir: str = "/") -> list[str]:
    """Run a command as a container of the pod whose pause process is given."""
    bounding = ",".join(["-all", *(f"+{capability}" for capability in CAPABILITIES)])
    return [
        *["nsenter", f"--target={pause_pid}", "--net", "--mount", "--uts"],
        *["sh", "-c", _JOIN_AND_RUN, "sh", str(cgroup), working_dir or "/"],
        *["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--", *command],
    ]
