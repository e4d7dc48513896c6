"""Who counts as the node's kubelet, from /proc and cgroup directories as they may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.errors import ForbiddenError
from agent.node.cgroups import Mount
from agent.node.kubelet_search import Place, is_in_pod, is_of_pods

UID = "5b6f6d0c-6a57-4b9b-8c1b-0d8c9c6f7a11"


@pytest.mark.parametrize(
    "path",
    [
        "/kubepods/burstable/pod1/2",
        "/kubepods.slice/kubepods-besteffort.slice",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice",
        f"/machine.slice/pod{UID}",
        f"/crio-{UID.replace('-', '_')}.scope",
        "/../../pod0123456789abcdef0123456789abcdef/1",
    ],
)
def test_pods_are_known_by_the_names_of_their_cgroups(path: str) -> None:
    assert is_of_pods(path)


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/kubelet.service",
        "/kubelet.slice/kubelet.service",
        "/podruntime.slice/kubelet",
        "/init.scope",
        "/",
    ],
)
def test_a_kubelets_own_cgroup_is_no_pods(path: str) -> None:
    assert not is_of_pods(path)


def test_a_pod_is_known_in_any_hierarchy() -> None:
    init = "4:memory:/\n1:name=systemd:/init.scope\n0::/init.scope\n"
    assert is_in_pod(f"4:memory:/kubepods/pod{UID}/1\n1:name=systemd:/\n0::/system.slice/k3s.service\n", init)
    assert not is_in_pod(
        "4:memory:/system.slice\n1:name=systemd:/system.slice/k3s.service\n0::/system.slice/k3s.service\n", init
    )


def test_what_the_node_itself_is_in_says_nothing_of_its_processes() -> None:
    node = f"/kubepods/pod{UID}/node"
    init = f"4:memory:{node}\n0::{node}/init"
    assert not is_in_pod(f"4:memory:{node}/kubelet\n0::{node}/init/kubelet", init)
    assert is_in_pod(f"4:memory:{node}/kubepods/pod1\n0::{node}/init/kubelet", init)


def a_cgroup(root: Path, name: str, *pids: int) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return path


def test_a_cgroup_of_its_own_below_the_root_can_be_a_kubelets(tmp_path: Path) -> None:
    place = Place(Mount(tmp_path, "/"), tmp_path)
    found = a_cgroup(tmp_path, "system.slice/kubelet.service")
    assert place.check(found) == found


@pytest.mark.parametrize(
    ("name", "reason"),
    [(".", "no cgroup of its own"), ("../other", "no cgroup of its own"), ("kubepods/x", "a pod's"), ("gone", "exist")],
)
def test_others_cannot(tmp_path: Path, name: str, reason: str) -> None:
    root = a_cgroup(tmp_path, "root")
    a_cgroup(tmp_path, "other")
    a_cgroup(root, "kubepods/x")
    with pytest.raises(ForbiddenError, match=reason):
        Place(Mount(root, "/"), root).check(Path(os.path.normpath(root / name)))
