from datetime import timedelta
from pathlib import Path

import pytest

from agent.apiserver.origin import Origin
from agent.controller.settings import Settings
from agent.errors import ConfigError

REQUIRED = {"WEFT_STATE_DIRECTORY": "/state", "WEFT_CA_DIRECTORY": "/ca", "WEFT_TOKEN_JWKS": "/jwks.json"}


def test_what_is_not_set_has_a_default() -> None:
    assert Settings.parse(REQUIRED) == Settings(
        origin=Origin(state_directory=Path("/state")),
        ca_directory=Path("/ca"),
        token_keys=Path("/jwks.json"),
        trust_domain="cluster.local",
        revision="default",
        cluster="Kubernetes",
        trusted_accounts=("istio-system/ztunnel", "istio-system/weft-proxy"),
        default_ttl=timedelta(hours=24),
        longest_ttl=timedelta(days=90),
        root_overlap=timedelta(hours=24),
        own_root_lifetime=timedelta(days=3650),
        own_root_grace_percent=20,
        connection_age=timedelta(minutes=30),
        send_timeout=timedelta(minutes=1),
        kubeconfig=None,
        webhook_failure_policy="Fail",
        log_format="plain",
        log_level="INFO",
    )


def test_a_cluster_needs_no_files_beside_it() -> None:
    found = Settings.parse({"KUBECONFIG": "/kubeconfig"})
    assert (found.origin, found.ca_directory, found.token_keys) == (Origin(kubeconfig=Path("/kubeconfig")), None, None)


@pytest.mark.parametrize("name", ["WEFT_CA_DIRECTORY", "WEFT_TOKEN_JWKS"])
def test_files_that_a_cluster_would_not_read_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is set without WEFT_STATE_DIRECTORY"):
        Settings.parse({name: "/there"})


@pytest.mark.parametrize("missing", ["WEFT_CA_DIRECTORY", "WEFT_TOKEN_JWKS"])
def test_what_has_no_default_must_be_set(missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        Settings.parse({name: value for name, value in REQUIRED.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CA_TRUSTED_NODE_ACCOUNTS", "ztunnel"),
        ("CA_TRUSTED_NODE_ACCOUNTS", "istio-system/ztunnel,"),
        ("CA_TRUSTED_NODE_ACCOUNTS", "a/b/c"),
        ("DEFAULT_WORKLOAD_CERT_TTL", "0s"),
        ("DEFAULT_WORKLOAD_CERT_TTL", "a day"),
        ("MAX_WORKLOAD_CERT_TTL", "999999h"),
        ("WEFT_ROOT_OVERLAP", "0s"),
        ("CITADEL_SELF_SIGNED_CA_CERT_TTL", "ten years"),
        ("CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE", "100"),
        ("WEFT_MAX_CONNECTION_AGE", "0ms"),
        ("PILOT_XDS_SEND_TIMEOUT", "0s"),
        ("WEFT_WEBHOOK_FAILURE_POLICY", "fail"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.parse({**REQUIRED, name: value})
