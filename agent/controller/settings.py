"""The controller's settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from agent import config, logs, wire
from agent.apiserver.origin import KUBECONFIG, STATE_DIRECTORY, Origin
from agent.config import Environment, Variable
from agent.controller.registration import FAILURE_POLICIES, FailurePolicy
from agent.errors import ConfigError

_OF_THE_CLUSTER = "required with a state directory; on a cluster: {}"
_GRACE = "CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE"
_A_LIFETIME = "a duration from `1s` to `87600h`"


@dataclass(frozen=True, slots=True)
class Settings:
    """The controller's settings, as its environment gives them.

    ca_directory, token_keys (a JWKS file): of a state directory; None on a cluster, which keeps the root in a Secret
    and says itself whose a token is. trusted_accounts: NAMESPACE/ACCOUNT of node proxies.
    default_ttl: of a workload certificate, when the request names none.
    """

    origin: Annotated[Origin, STATE_DIRECTORY, KUBECONFIG]
    ca_directory: Annotated[
        Path | None,
        Variable(
            "WEFT_CA_DIRECTORY",
            "With a state directory: root certificate and key of the mesh; made when they are not there.",
            config.A_PATH,
            unset=_OF_THE_CLUSTER.format("the Secret `istio-ca-secret`, or `cacerts` where there is one"),
        ),
    ]
    token_keys: Annotated[
        Path | None,
        Variable(
            "WEFT_TOKEN_JWKS",
            "With a state directory: a JWKS file with the keys that sign service account tokens (ES256); read again "
            "when it changes.",
            config.A_PATH,
            unset=_OF_THE_CLUSTER.format("TokenReviews"),
        ),
    ]
    trust_domain: Annotated[
        str,
        Variable(
            "TRUST_DOMAIN",
            "Trust domain of every identity, unless the mesh's ConfigMap says one.",
            config.A_NAME,
            wire.DEFAULT_TRUST_DOMAIN,
        ),
    ]
    revision: Annotated[
        str,
        Variable(
            "REVISION",
            "This mesh, among several in one cluster: policies that the label `istio.io/rev` gives to another are not "
            "looked at. The node agents' must be the same.",
            config.A_NAME,
            wire.DEFAULT_REVISION,
        ),
    ]
    cluster: Annotated[
        str, Variable("CLUSTER_ID", "The cluster's name in workloads' uids.", config.A_NAME, wire.DEFAULT_CLUSTER)
    ]
    trusted_accounts: Annotated[
        tuple[str, ...],
        Variable(
            "CA_TRUSTED_NODE_ACCOUNTS",
            "Service accounts of node proxies: they may follow discovery, and ask for certificates of their node's "
            "pods.",
            "`NAMESPACE/ACCOUNT,…`",
            default="istio-system/ztunnel,istio-system/weft-proxy",
        ),
    ]
    default_ttl: Annotated[
        timedelta,
        Variable(
            "DEFAULT_WORKLOAD_CERT_TTL", "Life of a certificate whose request names none.", _A_LIFETIME, default="24h"
        ),
    ]
    longest_ttl: Annotated[
        timedelta,
        Variable("MAX_WORKLOAD_CERT_TTL", "The longest life that a request gets.", _A_LIFETIME, default="2160h"),
    ]
    root_overlap: Annotated[
        timedelta,
        Variable(
            "WEFT_ROOT_OVERLAP",
            "On a cluster: how long a new root is trusted before anything is signed with it. By then every proxy must "
            "have renewed its certificates, which one of another make does at half of their life.",
            _A_LIFETIME,
            default="24h",
        ),
    ]
    own_root_lifetime: Annotated[
        timedelta,
        Variable(
            "CITADEL_SELF_SIGNED_CA_CERT_TTL",
            "On a cluster: life of a root that controllers make.",
            _A_LIFETIME,
            default="87600h",
        ),
    ]
    own_root_grace_percent: Annotated[
        int,
        Variable(
            _GRACE,
            "How much of its life, in percent, is left when they make the next one.",
            "1 to 90",
            default="20",
        ),
    ]
    connection_age: Annotated[
        timedelta,
        Variable(
            "WEFT_MAX_CONNECTION_AGE",
            "When a proxy's connection is ended, a tenth sooner or later, so that it shows a fresh token and finds "
            "controllers that are new.",
            _A_LIFETIME,
            default="30m",
        ),
    ]
    send_timeout: Annotated[
        timedelta,
        Variable(
            "PILOT_XDS_SEND_TIMEOUT",
            "How long a proxy may take to read a response; then its stream is ended, and it begins anew.",
            _A_LIFETIME,
            default="60s",
        ),
    ]
    # Not KUBECONFIG: a person's shell has that, and a lab's controller would register itself with their cluster.
    kubeconfig: Annotated[
        Path | None,
        Variable(
            "WEFT_KUBECONFIG",
            "How to reach the API server with which the webhook is registered.",
            config.A_PATH,
            unset="it is registered nowhere",
        ),
    ]
    webhook_failure_policy: Annotated[
        FailurePolicy,
        Variable(
            "WEFT_WEBHOOK_FAILURE_POLICY",
            "What becomes of the mesh's objects while no controller answers: refused, or stored unchecked.",
            "`Fail`, `Ignore`",
            default="Fail",
        ),
    ]
    log_format: Annotated[str, logs.FORMAT]
    log_level: Annotated[str, logs.LEVEL]

    @classmethod
    def parse(cls, environment: Environment) -> Settings:
        """ConfigError when one cannot be used."""
        origin = Origin.parse(environment)
        return cls(
            origin=origin,
            ca_directory=_beside(origin, environment, "WEFT_CA_DIRECTORY"),
            token_keys=_beside(origin, environment, "WEFT_TOKEN_JWKS"),
            trust_domain=environment.get("TRUST_DOMAIN") or wire.DEFAULT_TRUST_DOMAIN,
            revision=environment.get("REVISION") or wire.DEFAULT_REVISION,
            cluster=environment.get("CLUSTER_ID") or wire.DEFAULT_CLUSTER,
            trusted_accounts=_accounts(environment),
            default_ttl=_lifetime(environment, "DEFAULT_WORKLOAD_CERT_TTL", "24h"),
            longest_ttl=_lifetime(environment, "MAX_WORKLOAD_CERT_TTL", "2160h"),
            root_overlap=_lifetime(environment, "WEFT_ROOT_OVERLAP", "24h"),
            own_root_lifetime=_lifetime(environment, "CITADEL_SELF_SIGNED_CA_CERT_TTL", "87600h"),
            own_root_grace_percent=config.integer(environment, _GRACE, 20, least=1, most=90),
            connection_age=_lifetime(environment, "WEFT_MAX_CONNECTION_AGE", "30m"),
            send_timeout=_lifetime(environment, "PILOT_XDS_SEND_TIMEOUT", "60s"),
            kubeconfig=Path(environment["WEFT_KUBECONFIG"]) if environment.get("WEFT_KUBECONFIG") else None,
            webhook_failure_policy=config.choice(environment, "WEFT_WEBHOOK_FAILURE_POLICY", "Fail", FAILURE_POLICIES),
            log_format=config.choice(environment, "LOG_FORMAT", "plain", logs.FORMATS),
            log_level=config.choice(environment, "LOG_LEVEL", "INFO", logs.LEVELS),
        )


def _beside(origin: Origin, environment: Environment, name: str) -> Path | None:
    """What a state directory needs beside it, and a cluster has in itself."""
    if not origin.is_kubernetes:
        return Path(config.required(environment, name))
    if environment.get(name):
        raise ConfigError(f"{name} is set without WEFT_STATE_DIRECTORY; a Kubernetes cluster has no use for it")
    return None


def _accounts(environment: Environment) -> tuple[str, ...]:
    name = "CA_TRUSTED_NODE_ACCOUNTS"
    text = environment.get(name) or "istio-system/ztunnel,istio-system/weft-proxy"
    accounts = tuple(part.strip() for part in text.split(","))
    for account in accounts:
        namespace, slash, service_account = account.partition("/")
        if not (namespace and slash and service_account) or "/" in service_account:
            raise ConfigError(f"{name}: {account!r} is not an account; accepted are NAMESPACE/ACCOUNT,…")
    return accounts


def _lifetime(environment: Environment, name: str, default: str) -> timedelta:
    seconds = config.duration(environment, name, default)
    if not 1 <= seconds <= 10 * 365 * 86400:
        raise ConfigError(f"{name}={environment.get(name)!r} is out of range; accepted is 1s to 87600h")
    return timedelta(seconds=seconds)
