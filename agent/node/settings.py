"""The node agent's settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from agent import config, logs
from agent.apiserver.origin import KUBECONFIG, STATE_DIRECTORY, Origin
from agent.config import Environment, Variable
from agent.errors import ConfigError
from agent.model import NodeName
from agent.node.enablement import enablements
from agent.node.kubelet_search import is_of_pods
from agent.node.selection import EXCLUDED_NAMESPACES, Enablement, Rules
from agent.wire import DEFAULT_REVISION, SYSTEM_NAMESPACE


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds.

    cgroup_root: the cgroup that all the node's pods and proxies are below; None is all of cgroup2.
    announce_seconds: from the annotation's removal until redirection ends: the time that
        discovery has to tell the peers to stop tunnelling.
    drain_seconds: the longest that the proxy's connections to a withdrawn pod are waited for.
    daemon_set: empty: whatever becomes of it, the agent leaves its node as it is when it ends.
    cni_socket: None: no CNI plugin is served. cni_net_directory, cni_bin_directory: None: the plugin is not installed.
    """

    node: Annotated[NodeName, Variable("NODE_NAME", "The node whose pods are looked after.", config.A_NAME)]
    hand_over_socket: Annotated[
        Path,
        Variable(
            "INPOD_UDS",
            "Where the hand-over socket is made.",
            config.A_PATH,
            default="/var/run/ztunnel/ztunnel.sock",
        ),
    ]
    origin: Annotated[Origin, STATE_DIRECTORY, KUBECONFIG]
    cgroup_root: Annotated[
        Path | None,
        Variable(
            "WEFT_CGROUP_ROOT",
            "The cgroup that all the node's pods and its proxy are below.",
            config.A_PATH,
            unset="all of cgroup2, wherever it is mounted",
        ),
    ]
    kubelet_cgroups: Annotated[
        tuple[str, ...],
        Variable(
            "WEFT_KUBELET_CGROUP",
            "The kubelet's cgroup, whose connections to pods pass as probes.",
            "paths below `WEFT_CGROUP_ROOT` with commas between: `system.slice/kubelet.service`",
            unset="that of the node's process `kubelet`, `kubelite` or k3s",
        ),
    ]
    pin_directory: Annotated[
        Path,
        Variable("WEFT_PIN_DIRECTORY", "Where BPF objects are pinned; on bpffs.", config.A_PATH, "/sys/fs/bpf/weft"),
    ]
    announce_seconds: Annotated[
        float,
        Variable(
            "WEFT_WITHDRAW_ANNOUNCE",
            "How long a pod that leaves stays redirected, so that its peers hear of it first.",
            config.A_DURATION,
            default="300ms",
        ),
    ]
    drain_seconds: Annotated[
        float,
        Variable(
            "WEFT_WITHDRAW_DRAIN",
            "How long the proxy's last connections to a pod that leaves are waited for, at most.",
            config.A_DURATION,
            default="10s",
        ),
    ]
    daemon_set: Annotated[
        str,
        Variable(
            "WEFT_DAEMON_SET",
            "The DaemonSet, in `istio-system`, that the agent is a pod of. When it is deleted, the agent cleans its "
            "node before it ends.",
            config.A_NAME,
            unset="the node is left as it is; `weft node --remove` cleans it",
        ),
    ]
    cni_socket: Annotated[
        Path | None,
        Variable(
            "WEFT_CNI_SOCKET",
            "Where the CNI plugin asks; `/run/weft/cni.sock` on a node.",
            config.A_PATH,
            unset="no pod's start is held",
        ),
    ]
    cni_net_directory: Annotated[
        Path | None,
        Variable(
            "CNI_NET_DIR",
            "The node's CNI configuration, that the plugin is chained into; needs `CNI_BIN_DIR` and `WEFT_CNI_SOCKET`.",
            config.A_PATH,
            unset="nothing is installed",
        ),
    ]
    cni_bin_directory: Annotated[
        Path | None,
        Variable(
            "CNI_BIN_DIR",
            "The node's CNI plugins, that the plugin is copied to.",
            config.A_PATH,
            unset="nothing is installed",
        ),
    ]
    cni_file: Annotated[
        str,
        Variable(
            "CNI_CONF_NAME", "The file to chain the plugin into.", config.A_NAME, unset="the first that can be used"
        ),
    ]
    is_cni_chained: Annotated[
        bool,
        Variable(
            "CHAINED_CNI_PLUGIN",
            "Whether the agent edits the configuration, or `false`: copies the plugin only.",
            "`true`, `false`",
            default="true",
        ),
    ]
    cni_program: Annotated[
        Path,
        Variable("WEFT_CNI_PROGRAM", "The plugin to install.", config.A_PATH, unset="`weft-cni` beside Python"),
    ]
    revision: Annotated[
        str,
        Variable(
            "REVISION",
            "This mesh, among several in one cluster: pods that the label `istio.io/rev`, theirs or their namespace's, "
            "gives to another are left alone. The controller's must be the same.",
            config.A_NAME,
            DEFAULT_REVISION,
        ),
    ]
    excluded: Annotated[
        frozenset[str],
        Variable(
            "EXCLUDE_NAMESPACES",
            "Namespaces whose pods are never enrolled; `istio-system` is one of them in any case.",
            "names with commas between",
            ",".join(sorted(EXCLUDED_NAMESPACES, reverse=True)),
        ),
    ]
    enablement: Annotated[
        tuple[Enablement, ...],
        Variable(
            "AMBIENT_ENABLEMENT_SELECTOR",
            "Which pods are enrolled, in place of the label `istio.io/dataplane-mode`: whom any of these matches.",
            "YAML: a list of `{podSelector: …, namespaceSelector: …}`, label selectors as in Kubernetes",
            unset="pods with the label `ambient`, or without one in a namespace with it",
        ),
    ]
    log_format: Annotated[str, logs.FORMAT]
    log_level: Annotated[str, logs.LEVEL]

    @property
    def rules(self) -> Rules:
        """Who belongs to the mesh, as far as the agent's own settings say."""
        return Rules(self.revision, self.excluded, self.enablement)

    @classmethod
    def parse(cls, environment: Environment) -> Settings:
        """ConfigError when one cannot be used."""
        cni = {name: _optional(environment, name) for name in ("WEFT_CNI_SOCKET", "CNI_NET_DIR", "CNI_BIN_DIR")}
        missing = [name for name, path in cni.items() if path is None]
        if "CNI_NET_DIR" not in missing and missing:
            raise ConfigError(f"CNI_NET_DIR is set and {missing[0]} is not; the CNI plugin needs both")
        return cls(
            node=NodeName(config.required(environment, "NODE_NAME")),
            hand_over_socket=config.path(environment, "INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
            origin=Origin.parse(environment),
            cgroup_root=_optional(environment, "WEFT_CGROUP_ROOT"),
            kubelet_cgroups=_cgroups(environment, "WEFT_KUBELET_CGROUP"),
            pin_directory=config.path(environment, "WEFT_PIN_DIRECTORY", "/sys/fs/bpf/weft"),
            announce_seconds=config.duration(environment, "WEFT_WITHDRAW_ANNOUNCE", "300ms"),
            drain_seconds=config.duration(environment, "WEFT_WITHDRAW_DRAIN", "10s"),
            daemon_set=environment.get("WEFT_DAEMON_SET", ""),
            cni_socket=cni["WEFT_CNI_SOCKET"],
            cni_net_directory=cni["CNI_NET_DIR"],
            cni_bin_directory=cni["CNI_BIN_DIR"],
            cni_file=environment.get("CNI_CONF_NAME", ""),
            is_cni_chained=config.flag(environment, "CHAINED_CNI_PLUGIN", default=True),
            cni_program=_optional(environment, "WEFT_CNI_PROGRAM") or Path(sys.executable).with_name("weft-cni"),
            revision=environment.get("REVISION") or DEFAULT_REVISION,
            excluded=_names(environment, "EXCLUDE_NAMESPACES", EXCLUDED_NAMESPACES) | {SYSTEM_NAMESPACE},
            enablement=enablements(environment.get("AMBIENT_ENABLEMENT_SELECTOR", "")),
            log_format=config.choice(environment, "LOG_FORMAT", "plain", logs.FORMATS),
            log_level=config.choice(environment, "LOG_LEVEL", "INFO", logs.LEVELS),
        )


def _optional(environment: Environment, name: str) -> Path | None:
    text = environment.get(name)
    return Path(text) if text else None


def _names(environment: Environment, name: str, default: frozenset[str]) -> frozenset[str]:
    text = environment.get(name)
    return frozenset(part.strip() for part in text.split(",") if part.strip()) if text else default


def _cgroups(environment: Environment, name: str) -> tuple[str, ...]:
    """ConfigError for a path that is no cgroup of its own, or a pod's."""
    text = environment.get(name) or ""
    found = tuple(part.strip().strip("/") for part in text.split(",")) if text else ()
    for path in found:
        if not path or ".." in Path(path).parts:
            raise ConfigError(f"{name}={text!r}: accepted are paths below the node's cgroup root, with commas between")
        if is_of_pods(path):
            raise ConfigError(f"{name}={text!r}: {path} is a pod's cgroup; a kubelet's is outside the pods'")
    return found
