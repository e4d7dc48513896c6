from pathlib import Path

import pytest

from agent.apiserver.connection import Connection, refusal
from agent.errors import (
    BusyError,
    ConfigError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    WeftError,
)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, RefusedError),
        (401, UnauthenticatedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, ExpiredError),
        (422, RefusedError),
        (429, BusyError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_each_answer_has_its_error(code: int, error: type[WeftError]) -> None:
    answered = refusal(code, "pods is forbidden")
    assert type(answered) is error
    assert str(answered) == f"the API server answered {code}: pods is forbidden"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)])
def test_a_busy_api_server_says_when_to_come_back(header: str, seconds: float) -> None:
    answered = refusal(503, "", header)
    assert isinstance(answered, BusyError)
    assert answered.seconds == seconds


@pytest.mark.parametrize("content", [None, "{", "apiVersion: v1\nkind: Config\n", "[]"])
async def test_a_kubeconfig_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"kubeconfig {path}"):
        await Connection.open(path)


async def test_outside_of_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="this is no pod with a service account"):
        await Connection.open(None)
