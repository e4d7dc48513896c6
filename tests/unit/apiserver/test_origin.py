"""Which cluster a process works with, by its environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.apiserver.origin import Origin, opened
from agent.errors import ConfigError
from agent.kube import NAMESPACE, StateDirectory


@pytest.mark.parametrize(
    ("environment", "origin"),
    [
        ({}, Origin()),
        ({"KUBECONFIG": "/k", "WEFT_STATE_DIRECTORY": ""}, Origin(kubeconfig=Path("/k"))),
        ({"WEFT_STATE_DIRECTORY": "/s"}, Origin(state_directory=Path("/s"))),
    ],
)
def test_what_is_set_decides(environment: dict[str, str], origin: Origin) -> None:
    assert Origin.parse(environment) == origin


def test_a_state_directory_comes_first() -> None:
    both = Origin.parse({"WEFT_STATE_DIRECTORY": "/s", "KUBECONFIG": "/k"})
    assert (both.is_kubernetes, str(both)) == (False, "/s")


async def test_a_state_directory_is_opened_in_place_of_an_api_server(tmp_path: Path) -> None:
    made = await StateDirectory.create_at(tmp_path).create(NAMESPACE, {"metadata": {"name": "shop"}})
    async with opened(Origin(state_directory=tmp_path)) as cluster:
        assert await cluster.list(NAMESPACE) == [made]


async def test_without_either_the_error_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="neither WEFT_STATE_DIRECTORY nor KUBECONFIG is set"):
        async with opened(Origin()):
            pass
