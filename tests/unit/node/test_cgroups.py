from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.errors import ForbiddenError, KernelError, PodGoneError
from agent.node import cgroups
from agent.node.cgroups import Mount

UID = "5b6f6d0c-6a57-4b9b-8c1b-0d8c9c6f7a11"
PURE = "24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
VERSION_1 = "30 1 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
HYBRID = f"{VERSION_1}31 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n"


def test_the_mount_is_found_pure_and_hybrid() -> None:
    assert cgroups.find_mount(mountinfo=PURE) == Mount(Path("/sys/fs/cgroup"), "/")
    assert cgroups.find_mount(mountinfo=HYBRID) == Mount(Path("/sys/fs/cgroup/unified"), "/")
    with pytest.raises(KernelError, match="no cgroup2"):
        cgroups.find_mount(mountinfo=VERSION_1)


def test_of_two_mounts_the_one_that_is_asked_for_is_found() -> None:
    """A container sees its own part of the hierarchy beside the node's."""
    node = Path("/host/sys/fs/cgroup")
    pure = PURE + "40 1 0:22 /../../.. /host/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
    hybrid = HYBRID + "41 1 0:26 / /host/sys/fs/cgroup/unified ro - cgroup2 none rw\n"
    assert cgroups.find_mount(node, pure) == Mount(node, "/../../..")
    assert cgroups.find_mount(node / "kubepods", pure).below(node / "kubepods") == node / "kubepods"
    assert cgroups.find_mount(node, hybrid) == Mount(node / "unified", "/")
    assert cgroups.find_mount(node, hybrid).below(node) == node / "unified"
    with pytest.raises(KernelError, match="no cgroup2 file system at /elsewhere"):
        cgroups.find_mount(Path("/elsewhere"), PURE)


def test_a_cgroup_is_found_from_within_another_cgroup_namespace(tmp_path: Path) -> None:
    directory = tmp_path / "kubepods" / "proxy"
    directory.mkdir(parents=True)
    (directory / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert cgroups.cgroup_of(os.getpid(), Mount(tmp_path, "/../../..")) == directory


def test_a_part_of_the_hierarchy_is_located_from_its_root() -> None:
    assert Mount(Path("/mnt"), "/kubepods").locate("/kubepods/pod1") == Path("/mnt/pod1")
    with pytest.raises(KernelError, match="outside"):
        Mount(Path("/mnt"), "/kubepods").locate("/system")


@pytest.mark.parametrize(
    "name",
    [f"pod{UID}", f"kubepods-burstable-pod{UID.replace('-', '_')}.slice", f"pod{UID}/cri-containerd-1.scope"],
)
def test_a_pods_processes_are_found_by_its_uid(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "kubepods" / name
    directory.mkdir(parents=True)
    (directory / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    assert cgroups.processes_of(UID, tmp_path) == [1, os.getpid()]  # the oldest first
    assert cgroups.processes_of("another", tmp_path) == []


def test_a_process_that_has_ended_has_no_cgroup() -> None:
    with pytest.raises(PodGoneError):
        cgroups.cgroup_of(2**22 + 1, Mount(Path("/"), "/"))


def test_a_proxy_needs_a_cgroup_of_its_own() -> None:
    mount = cgroups.find_mount()
    own = cgroups.cgroup_of(os.getpid(), mount)
    with pytest.raises(ForbiddenError, match="cgroup of its own"):
        cgroups.proxy_cgroup(os.getpid(), mount, own, ())


@pytest.mark.parametrize(
    "name", [f"pod{UID}", f"kubepods-pod{UID.replace('-', '_')}.slice/cri-1.scope", f"a/pod{UID}/b"]
)
def test_no_process_of_a_pod_in_the_mesh_is_a_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "cgroup_of", lambda pid, mount: mount.path / "node" / name)
    mount = Mount(Path("/cgroup"), "/")
    with pytest.raises(ForbiddenError, match="it can be no node proxy"):
        cgroups.proxy_cgroup(7, mount, Path("/cgroup/node"), [UID])
    assert cgroups.proxy_cgroup(7, mount, Path("/cgroup/node"), ["another"]) == Path("/cgroup/node") / name


SYSTEMD_UID = UID.replace("-", "_")
V1 = "12:memory:{0}\n5:cpu,cpuacct:{0}\n1:name=systemd:{0}\n"
PLACES = {
    "containerd, cgroupfs, v1": V1.format(f"/kubepods/burstable/pod{UID}/3f0c"),
    "containerd, cgroupfs, v2": f"0::/kubepods/besteffort/pod{UID}/3f0c\n",
    "containerd, systemd, v2": f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD_UID}.slice/"
    "cri-containerd-3f0c.scope\n",
    "containerd, cgroupfs, hybrid": V1.format(f"/kubepods/pod{UID}/3f0c") + "0::/system.slice/containerd.service\n",
    "containerd in its own slice": V1.format(
        f"/system.slice/containerd.service/kubepods-pod{SYSTEMD_UID}.slice:cri-containerd:3f"
    ),
    "CRI-O, systemd, v2": f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-3f0c.scope/container\n",
    "Docker, systemd, v1": V1.format(f"/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/docker-3f0c.scope"),
    "Docker, cgroupfs, v1": V1.format(f"/kubepods/burstable/pod{UID}/3f0c"),
    "runc, hybrid, systemd": V1.format(f"/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/3f0c") + "0::/init.scope\n",
    "below the container, v2": f"0::/kubepods/pod{UID}/3f0c/init/app\n",
}


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES)
def test_a_pods_process_is_known_by_its_cgroup_with_every_runtime(text: str) -> None:
    assert cgroups.names(text, cgroups.spellings_of(UID))
    assert not cgroups.names(text.replace("5b6f6d0c", "5b6f6d0d"), cgroups.spellings_of(UID))


def test_a_process_of_the_node_is_no_pods() -> None:
    for text in ("", "0::/\n", "12:memory:/system.slice/kubelet.service\n0::/system.slice/kubelet.service\n"):
        assert not cgroups.names(text, cgroups.spellings_of(UID))
