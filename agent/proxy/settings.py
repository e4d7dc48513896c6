"""The settings of the node proxy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from agent import config, logs
from agent.config import Environment, Variable
from agent.errors import ConfigError
from agent.wire import DEFAULT_CLUSTER, DEFAULT_TRUST_DOMAIN, DISCOVERY_HOST, DISCOVERY_PORT, SYSTEM_NAMESPACE

_SECRETS = "./var/run/secrets"
_ROOT = f"{_SECRETS}/istio/root-cert.pem"
_TOKEN = f"{_SECRETS}/tokens/istio-token"
_MOST_CONNECTIONS = 10_000_000
_DEFAULT_CONNECTIONS = 65_536
_OTHER_DESCRIPTORS = 4096  # listeners and namespaces of 512 pods, admin ports, discovery


@dataclass(frozen=True, slots=True)
class Server:
    """A gRPC server that is called over TLS.

    address: HOST:PORT. server_name: what its certificate must say. root: PEM file of whom to believe.
    """

    address: str
    server_name: str
    root: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; durations in seconds. saved_state is None when nothing is kept on disk."""

    node: Annotated[str, Variable("NODE_NAME", "The node whose pods are served.", config.A_NAME)]
    pod: Annotated[
        str, Variable("POD_NAME", "The proxy's own pod, by which the controller shows it.", config.A_NAME, "weft-proxy")
    ]
    namespace: Annotated[
        str, Variable("POD_NAMESPACE", "Namespace of the proxy's own pod.", config.A_NAME, SYSTEM_NAMESPACE)
    ]
    instance_ip: Annotated[
        str,
        Variable("INSTANCE_IP", "Address by which the controller shows the proxy.", "an address", default="127.0.0.1"),
    ]
    cluster: Annotated[
        str,
        Variable("CLUSTER_ID", "The cluster's name, for labels and the controller.", config.A_NAME, DEFAULT_CLUSTER),
    ]
    trust_domain: Annotated[
        str,
        Variable(
            "TRUST_DOMAIN",
            "Trust domain of the pods' identities, and of the peers'.",
            config.A_NAME,
            DEFAULT_TRUST_DOMAIN,
        ),
    ]
    handover: Annotated[
        Path,
        Variable(
            "INPOD_UDS", "The node agent's hand-over socket.", config.A_PATH, default="/var/run/ztunnel/ztunnel.sock"
        ),
    ]
    discovery: Annotated[
        Server,
        Variable("XDS_ADDRESS", "Where discovery is.", config.AN_ADDRESS, f"{DISCOVERY_HOST}:{DISCOVERY_PORT}"),
        Variable("ALT_XDS_HOSTNAME", "What discovery's certificate must say.", config.A_NAME, DISCOVERY_HOST),
        Variable("XDS_ROOT_CA", "Root that discovery's certificate must come from.", config.A_PATH, _ROOT),
    ]
    authority: Annotated[
        Server,
        Variable("CA_ADDRESS", "Where the CA is.", config.AN_ADDRESS, unset="as `XDS_ADDRESS`"),
        Variable("ALT_CA_HOSTNAME", "What the CA's server certificate must say.", config.A_NAME, DISCOVERY_HOST),
        Variable("CA_ROOT_CA", "Root that the CA's server certificate must come from.", config.A_PATH, _ROOT),
    ]
    token: Annotated[
        Path,
        Variable("AUTH_TOKEN", "File with the proxy's token; read for each connection.", config.A_PATH, _TOKEN),
    ]
    certificate_seconds: Annotated[
        float,
        Variable(
            "SECRET_TTL", "Life asked for a pod's certificate.", f"{config.A_DURATION}; at least `1s`", default="24h"
        ),
    ]
    drain_seconds: Annotated[
        float,
        Variable(
            "CONNECTION_TERMINATION_DEADLINE",
            "How long open connections may go on when their pod leaves or the proxy ends.",
            config.A_DURATION,
            default="5s",
        ),
    ]
    workers: Annotated[
        int,
        Variable(
            "ZTUNNEL_WORKER_THREADS",
            "Threads that carry bytes.",
            "1 to 1024",
            unset="a quarter of the cores, at least 2",
        ),
    ]
    most_connections: Annotated[
        int,
        Variable(
            "WEFT_MOST_CONNECTIONS",
            "Connections that the node's pods may hold at a time. Once three quarters are taken, pods that have more "
            "than an even share are refused more.",
            f"1 to {_MOST_CONNECTIONS}",
            unset=f"{_DEFAULT_CONNECTIONS}, or as many as there are descriptors for",
        ),
    ]
    saved_state: Annotated[
        Path | None,
        Variable(
            "WEFT_PROXY_STATE",
            "Folder where the state of discovery is kept, for a start while the controller is away.",
            config.A_PATH,
            unset="nothing is kept",
        ),
    ]
    log_format: Annotated[str, replace(logs.FORMAT, meaning="Form of the log and of the access log.")]
    log_level: Annotated[str, logs.LEVEL]

    @classmethod
    def parse(cls, environment: Environment, *, cores: int, descriptors: int) -> Settings:
        """Raises ConfigError for a value that cannot be used.

        cores: sets the default number of workers. descriptors: how many the process may have open.
        """
        saved_state = environment.get("WEFT_PROXY_STATE", "")
        default_address = f"{DISCOVERY_HOST}:{DISCOVERY_PORT}"
        return cls(
            node=config.required(environment, "NODE_NAME"),
            pod=environment.get("POD_NAME") or "weft-proxy",
            namespace=environment.get("POD_NAMESPACE") or SYSTEM_NAMESPACE,
            instance_ip=environment.get("INSTANCE_IP") or "127.0.0.1",
            cluster=environment.get("CLUSTER_ID") or DEFAULT_CLUSTER,
            trust_domain=environment.get("TRUST_DOMAIN") or DEFAULT_TRUST_DOMAIN,
            handover=config.path(environment, "INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
            discovery=_server(environment, "XDS", default_address),
            authority=_server(environment, "CA", environment.get("XDS_ADDRESS") or default_address),
            token=config.path(environment, "AUTH_TOKEN", _TOKEN),
            certificate_seconds=_certificate_seconds(environment),
            drain_seconds=config.duration(environment, "CONNECTION_TERMINATION_DEADLINE", "5s"),
            workers=config.integer(
                environment, "ZTUNNEL_WORKER_THREADS", max(2, math.ceil(cores / 4)), least=1, most=1024
            ),
            most_connections=config.integer(
                environment, "WEFT_MOST_CONNECTIONS", _connections(descriptors), least=1, most=_MOST_CONNECTIONS
            ),
            saved_state=Path(saved_state) if saved_state else None,
            log_format=config.choice(environment, "LOG_FORMAT", "plain", logs.FORMATS),
            log_level=config.choice(environment, "LOG_LEVEL", "INFO", logs.LEVELS),
        )


def _server(environment: Environment, prefix: str, default_address: str) -> Server:
    return Server(
        address=config.host_and_port(environment, f"{prefix}_ADDRESS", default_address),
        server_name=environment.get(f"ALT_{prefix}_HOSTNAME") or DISCOVERY_HOST,
        root=config.path(environment, f"{prefix}_ROOT_CA", _ROOT),
    )


def _connections(descriptors: int) -> int:
    """Those of a connection are two; the rest of the process has a part of its own."""
    return max(1, min(_DEFAULT_CONNECTIONS, (descriptors - _OTHER_DESCRIPTORS) // 2))


def _certificate_seconds(environment: Environment) -> float:
    seconds = config.duration(environment, "SECRET_TTL", "24h")
    if seconds < 1:
        raise ConfigError(f"SECRET_TTL={environment['SECRET_TTL']!r} is too short; accepted is 1s and more")
    return seconds
