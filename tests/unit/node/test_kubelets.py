"""Following the kubelet's cgroup as the setting names it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.config import Environment
from agent.errors import ConfigError
from agent.metrics import NodeMetrics
from agent.node.cgroups import Mount
from agent.node.kubelet_search import Place
from agent.node.kubelets import Kubelets
from agent.node.settings import Settings


@dataclass
class FakeKernel:
    """Remembers what it was told to trust."""

    trusted: list[set[int]] = field(default_factory=list)
    was_told: asyncio.Event = field(default_factory=asyncio.Event)

    def trust_kubelets(self, cgroups: Iterable[int]) -> None:
        self.trusted.append(set(cgroups))
        self.was_told.set()


def looked_up(root: Path, configured: Sequence[str]) -> tuple[Kubelets, FakeKernel, float]:
    """After the first look; what the metric says."""
    registry, kernel = CollectorRegistry(), FakeKernel()
    kubelets = Kubelets(kernel, Place(Mount(root, "/"), root), configured, NodeMetrics(registry).kubelet_cgroups)

    async def once() -> None:
        following = asyncio.ensure_future(kubelets.follow())
        await kernel.was_told.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(once())
    return kubelets, kernel, registry.get_sample_value("weft_kubelet_cgroups") or 0.0


def test_cgroups_that_are_there_are_trusted_and_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "system.slice" / "kubelet.service"
    path.mkdir(parents=True)
    kubelets, kernel, known = looked_up(tmp_path, ["system.slice/kubelet.service", "system.slice/other"])
    assert (kernel.trusted, known) == ([{path.stat().st_ino}], 1.0)
    assert kubelets.report.cgroups == (str(path),)
    assert (kubelets.report.problem, kubelets.report.refused) == (
        "",
        (f"{tmp_path / 'system.slice' / 'other'} does not exist",),
    )


def test_without_any_nothing_is_trusted_and_it_is_said_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kubelets, kernel, known = looked_up(tmp_path, ["kubelet"])
    assert (kernel.trusted, known, kubelets.report.cgroups) == ([set()], 0.0, ())
    assert kubelets.report.problem == f"WEFT_KUBELET_CGROUP: {tmp_path / 'kubelet'} does not exist"
    assert [record.message for record in caplog.records] == ["no kubelet known, its probes are judged by policy"]


def parsed(text: str) -> tuple[str, ...]:
    environment: Environment = {"NODE_NAME": "node", "WEFT_STATE_DIRECTORY": "/state", "WEFT_KUBELET_CGROUP": text}
    return Settings.parse(environment).kubelet_cgroups


def test_the_setting_has_paths_below_the_root() -> None:
    assert parsed("") == ()
    assert parsed("/system.slice/kubelet.service/, k3s.service") == ("system.slice/kubelet.service", "k3s.service")


@pytest.mark.parametrize("text", ["/", "a,,b", "../a", "a/../../b"])
def test_a_path_that_is_not_below_the_root_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="accepted are paths below the node's cgroup root"):
        parsed(text)


def test_a_pods_cgroup_is_refused() -> None:
    with pytest.raises(ConfigError, match="kubepods/pod1 is a pod's cgroup"):
        parsed("kubepods/pod1")
