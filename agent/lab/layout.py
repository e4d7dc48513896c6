"""Where everything of a lab is: its folder, namespaces, cgroups and names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError

RUN = Path("/run/weft")
NETNS = Path("/run/netns")
FABRIC = "fabric"
CONTROL = "control"
PAUSE = "pause"  # the cgroup, below a pod's, of the process that holds its namespaces
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one lab; `cgroup_root` is the machine's cgroup2 mount."""

    name: str
    cgroup_root: Path

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"lab name {self.name!r}: accepted are at most 20 of a-z, 0-9 and '-', no '-' at the ends"
            )

    @property
    def root(self) -> Path:
        return RUN / self.name

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def bpf(self) -> Path:
        return self.root / "bpf"

    @property
    def ca(self) -> Path:
        return self.root / "ca"

    @property
    def root_certificate(self) -> Path:
        return self.ca / "root-cert.pem"

    @property
    def jwks(self) -> Path:
        return self.root / "jwks.json"

    @property
    def signing_key(self) -> Path:
        return self.root / "signing-key.pem"

    @property
    def record(self) -> Path:
        return self.root / "lab.json"

    @property
    def report(self) -> Path:
        """What the supervisor says of itself, for `weft lab status`."""
        return self.root / "report.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def pod_log(self, namespace: str, pod: str, container: str) -> Path:
        return self.logs / "pods" / f"{namespace}_{pod}_{container}.log"

    def node(self, node: str) -> Path:
        """The folder of a node, with its hand-over socket and its proxy's token."""
        return self.root / node

    def node_root(self, node: str) -> Path:
        """What a node of a lab on an API server has for its root directory."""
        return self.node(node) / "root"

    def cni(self, node: str) -> Path:
        """The folder of a node's CNI chain: configurations in net.d, programs in bin."""
        return self.node(node) / "cni"

    def pod(self, uid: str) -> Path:
        return self.root / "pods" / uid

    def volumes(self, uid: str) -> Path:
        """The files of a pod's volumes."""
        return self.root / "volumes" / uid

    @property
    def cgroup(self) -> Path:
        return self.cgroup_root / f"weft-{self.name}"

    def node_cgroup(self, node: str) -> Path:
        return self.cgroup / node

    def pod_cgroup(self, node: str, uid: str) -> Path:
        return self.node_cgroup(node) / "kubepods" / f"pod{uid}"

    def process_cgroup(self, place: str, kind: str) -> Path:
        """The cgroup of a mesh process: `place` is a node or CONTROL."""
        return self.cgroup / place / "system" / kind

    def netns(self, place: str) -> str:
        """The name of the namespace of a node, of FABRIC or of CONTROL."""
        return f"weft-{self.name}-{place}"

    def pod_netns(self, uid: str) -> str:
        return f"weft-{self.name}-pod-{uid[:8]}"


def netns_path(name: str) -> Path:
    return NETNS / name
