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


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds.

    cgroup_root: the cgroup that all the node's pods and proxies are below; None is all of cgroup2.
    announce_seconds: from the annotation's removal until redirection ends: the time that
        discovery has to tell the peers to stop tunnelling.
    drain_seconds: the longest that the proxy's connections to a withdrawn pod are waited for.
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
    log_format: Annotated[str, logs.FORMAT]
    log_level: Annotated[str, logs.LEVEL]

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
            pin_directory=config.path(environment, "WEFT_PIN_DIRECTORY", "/sys/fs/bpf/weft"),
            announce_seconds=config.duration(environment, "WEFT_WITHDRAW_ANNOUNCE", "300ms"),
            drain_seconds=config.duration(environment, "WEFT_WITHDRAW_DRAIN", "10s"),
            cni_socket=cni["WEFT_CNI_SOCKET"],
            cni_net_directory=cni["CNI_NET_DIR"],
            cni_bin_directory=cni["CNI_BIN_DIR"],
            cni_file=environment.get("CNI_CONF_NAME", ""),
            is_cni_chained=config.flag(environment, "CHAINED_CNI_PLUGIN", default=True),
            cni_program=_optional(environment, "WEFT_CNI_PROGRAM") or Path(sys.executable).with_name("weft-cni"),
            log_format=config.choice(environment, "LOG_FORMAT", "plain", logs.FORMATS),
            log_level=config.choice(environment, "LOG_LEVEL", "INFO", logs.LEVELS),
        )


def _optional(environment: Environment, name: str) -> Path | None:
    text = environment.get(name)
    return Path(text) if text else None
