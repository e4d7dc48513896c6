from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.cli.choice import Choice
from agent.cli.cluster_reach import installed_mesh, processes
from agent.cli.reach import Process
from agent.errors import ConfigError, NotFoundError, UnavailableError


def a_pod(app: str, name: str, node: str = "n1", *, ready: bool = True, born: int = 0, **metadata: str) -> Any:
    return {
        "metadata": {
            "name": name,
            "labels": {"app": app},
            "creationTimestamp": f"2026-01-01T00:00:{born:02}Z",
            **metadata,
        },
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_processes_are_found_in_the_mesh_s_pods() -> None:
    pods = [
        a_pod("weft-node", "weft-node-a"),
        a_pod("weft-proxy", "weft-proxy-a"),
        a_pod("weft-controller", "weft-controller-1", "n2"),
        a_pod("weft-controller", "weft-controller-2"),
    ]
    assert processes(pods) == {
        Process("node", "n1"): "weft-node-a",
        Process("proxy", "n1"): "weft-proxy-a",
        Process("controller", pod="weft-controller-1"): "weft-controller-1",
        Process("controller", pod="weft-controller-2"): "weft-controller-2",
    }


def test_of_two_proxies_on_a_node_the_newest_that_is_ready_is_asked() -> None:
    old, new = a_pod("weft-proxy", "old", born=1), a_pod("weft-proxy", "new", born=2)
    coming = a_pod("weft-proxy", "coming", born=3, ready=False)
    ending = a_pod("weft-proxy", "ending", born=4, deletionTimestamp="2026-01-01T00:00:09Z")
    assert processes([new, coming, old, ending]) == {Process("proxy", "n1"): "new"}


def test_a_pod_that_has_no_node_yet_is_nobody() -> None:
    assert processes([a_pod("weft-proxy", "waiting", "")]) == {}


def test_a_lab_and_a_cluster_are_not_asked_at_once() -> None:
    with pytest.raises(ConfigError, match="give one"):
        Choice("lab", Path("kubeconfig"), None)
    with pytest.raises(ConfigError, match="give one"):
        Choice("lab", None, "context")


def test_without_a_lab_and_a_kubeconfig_both_ways_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NotFoundError, match=r"weft lab up.*--kubeconfig"):
        Choice().mesh(tmp_path, {})


def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("nothing: here")
    with pytest.raises(ConfigError, match=str(path)):
        Choice(None, path).mesh()
    with pytest.raises(ConfigError, match="absent"):
        Choice(None, tmp_path / "absent").mesh()


def test_an_api_server_that_is_away_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        "{clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: t}}],"
        " contexts: [{name: here, context: {cluster: c, user: u}}], current-context: here}"
    )
    with pytest.raises(UnavailableError, match="does not answer"):
        installed_mesh(path, None)
    with pytest.raises(ConfigError, match="elsewhere"):
        installed_mesh(path, "elsewhere")
