"""The node agent's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from agent import config, logs
from agent.config import Environment, Variable
from agent.model import NodeName


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds.

    cgroup_root: the cgroup that all the node's pods and proxies are below; None is all of cgroup2.
    announce_seconds: from the annotation's removal until redirection ends: the time that
        discovery has to tell the peers to stop tunnelling.
    drain_seconds: the longest that the proxy's connections to a withdrawn pod are waited for.
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
    state_directory: Annotated[
        Path, Variable("WEFT_STATE_DIRECTORY", "The objects of the cluster, one file each.", config.A_PATH)
    ]
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
    log_format: Annotated[str, logs.FORMAT]
    log_level: Annotated[str, logs.LEVEL]

    @classmethod
    def parse(cls, environment: Environment) -> Settings:
        """ConfigError when one cannot be used."""
        root = environment.get("WEFT_CGROUP_ROOT")
        return cls(
            node=NodeName(config.required(environment, "NODE_NAME")),
            hand_over_socket=config.path(environment, "INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
            state_directory=Path(config.required(environment, "WEFT_STATE_DIRECTORY")),
            cgroup_root=Path(root) if root else None,
            pin_directory=config.path(environment, "WEFT_PIN_DIRECTORY", "/sys/fs/bpf/weft"),
            announce_seconds=config.duration(environment, "WEFT_WITHDRAW_ANNOUNCE", "300ms"),
            drain_seconds=config.duration(environment, "WEFT_WITHDRAW_DRAIN", "10s"),
            log_format=config.choice(environment, "LOG_FORMAT", "plain", logs.FORMATS),
            log_level=config.choice(environment, "LOG_LEVEL", "INFO", logs.LEVELS),
        )
