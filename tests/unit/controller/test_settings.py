from datetime import timedelta
from pathlib import Path

import pytest

from agent.controller.settings import Settings
from agent.errors import ConfigError

REQUIRED = {"WEFT_STATE_DIRECTORY": "/state", "WEFT_CA_DIRECTORY": "/ca", "WEFT_TOKEN_JWKS": "/jwks.json"}


def test_what_is_not_set_has_a_default() -> None:
    assert Settings.parse(REQUIRED) == Settings(
        state_directory=Path("/state"),
        ca_directory=Path("/ca"),
        token_keys=Path("/jwks.json"),
        trust_domain="cluster.local",
        cluster="Kubernetes",
        trusted_accounts=("istio-system/ztunnel", "istio-system/weft-proxy"),
        default_ttl=timedelta(hours=24),
        longest_ttl=timedelta(days=90),
        kubeconfig=None,
        webhook_failure_policy="Fail",
        log_format="plain",
        log_level="INFO",
    )


@pytest.mark.parametrize("missing", REQUIRED)
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
        ("WEFT_WEBHOOK_FAILURE_POLICY", "fail"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.parse({**REQUIRED, name: value})
