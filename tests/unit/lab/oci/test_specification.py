from pathlib import Path
from typing import Any

import pytest

from agent.errors import InvalidObjectError
from agent.kube import Object
from agent.lab.oci.privileges import CAPABILITIES, MASKED_PATHS, READ_ONLY_PATHS, Machine
from agent.lab.oci.seccomp import Profile
from agent.lab.oci.specification import Mount, Place, specification
from tests.support.containers import a_runnable_pod

RULES = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": [], "syscalls": []}
PLACE = Place(
    netns=Path("/run/netns/pod"),
    cgroup="/lab/node-1/pod1/main",
    hostname="web-1",
    programs=Path("/venv/bin"),
    machine=Machine(Profile(RULES, "x86_64"), frozenset(CAPABILITIES)),
)
LOCKED = {
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def made(context: dict[str, Any] | None = None, *mounts: Mount, **spec: Any) -> Object:
    pod = a_runnable_pod({"securityContext": context or {}}, **spec)
    return specification(pod, pod.spec.containers[0], PLACE, mounts, {"A": "1"}, ["weft", "node"])


def kinds(found: Object) -> list[str]:
    return [namespace["type"] for namespace in found["linux"]["namespaces"]]


def test_a_container_that_may_do_nothing() -> None:
    found = made(LOCKED)
    assert found["root"] == {"path": "root", "readonly": True}
    assert found["process"] == {
        "user": {"uid": 65532, "gid": 0, "additionalGids": []},
        "args": ["weft", "node"],
        "env": [
            "PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            *("HOSTNAME=web-1", "A=1"),
        ],
        "cwd": "/",
        "capabilities": {"bounding": [], "effective": [], "permitted": []},
        "noNewPrivileges": True,
    }
    assert found["linux"] == {
        "cgroupsPath": "/lab/node-1/pod1/main",
        "namespaces": [
            *({"type": kind} for kind in ("mount", "ipc", "uts", "pid", "cgroup")),
            {"type": "network", "path": "/run/netns/pod"},
        ],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "rootfsPropagation": "rprivate",
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READ_ONLY_PATHS),
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ANY_X86, "syscalls": []},
    }


ANY_X86 = ["SCMP_ARCH_X86_64"]


def test_a_container_that_nobody_restricts_has_new_privileges_a_writable_root_and_no_filter() -> None:
    found = made()
    assert (found["process"]["noNewPrivileges"], found["root"]["readonly"]) == (False, False)
    assert "seccomp" not in found["linux"]
    assert "CAP_NET_RAW" in found["process"]["capabilities"]["effective"]


def test_a_privileged_container_sees_devices_and_writes_settings() -> None:
    found = made({"privileged": True})
    mounts = {mount["destination"]: mount for mount in found["mounts"]}
    assert (mounts["/dev"]["source"], mounts["/dev"]["type"], "/dev/pts" in mounts) == ("/dev", "bind", False)
    assert "ro" not in mounts["/sys"]["options"]
    assert (found["linux"]["maskedPaths"], found["linux"]["readonlyPaths"]) == ([], [])
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "cgroup" not in kinds(found)


def test_what_the_container_shares_with_its_node() -> None:
    assert "pid" in kinds(made())
    assert "pid" not in kinds(made(hostPID=True))


def test_system_mounts_hold_nothing_of_the_machine_and_no_cgroups() -> None:
    found = {mount["destination"]: mount for mount in made()["mounts"]}
    assert list(found) == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"]
    assert {mount["type"] for mount in found.values()} == {"proc", "tmpfs", "devpts", "mqueue", "sysfs"}
    assert found["/sys"]["options"] == ["nosuid", "noexec", "nodev", "ro"]


def test_volumes_come_after_and_parents_before_what_is_in_them() -> None:
    deep, shallow = Mount(Path("/a"), "/data/deep", is_read_only=True), Mount(Path("/b"), "/data")
    assert made(None, deep, shallow)["mounts"][-2:] == [
        {"destination": "/data", "type": "bind", "source": "/b", "options": ["rbind", "rprivate", "rw"]},
        {"destination": "/data/deep", "type": "bind", "source": "/a", "options": ["rbind", "rprivate", "ro"]},
    ]


@pytest.mark.parametrize(
    ("wanted", "option", "root"),
    [
        (["None"], "rprivate", "rprivate"),
        (["HostToContainer", "None"], "rslave", "rslave"),
        (["Bidirectional", "HostToContainer"], "rshared", "rshared"),
    ],
)
def test_the_root_lets_through_the_mounts_that_a_volume_wants(wanted: list[Any], option: str, root: str) -> None:
    found = made(None, *(Mount(Path("/a"), f"/{kind}", propagation=kind) for kind in wanted))
    assert found["linux"]["rootfsPropagation"] == root
    by_target = {mount["destination"]: mount["options"] for mount in found["mounts"]}
    assert by_target[f"/{wanted[0]}"] == ["rbind", option, "rw"]


def test_memory_is_limited_and_the_manifests_words_win() -> None:
    pod = a_runnable_pod({"resources": {"limits": {"memory": "64Mi", "cpu": "1"}}, "workingDir": "/srv"})
    found = specification(pod, pod.spec.containers[0], PLACE, [], {"PATH": "/bin"}, ["true"])
    assert found["linux"]["resources"]["memory"] == {"limit": 64 * 1024 * 1024}
    assert found["process"]["env"] == ["PATH=/bin", "HOSTNAME=web-1"]
    assert found["process"]["cwd"] == "/srv"


def test_a_container_without_a_command_is_refused() -> None:
    pod = a_runnable_pod()
    with pytest.raises(InvalidObjectError, match="Pod default/web-1: container main: no command; the lab runs"):
        specification(pod, pod.spec.containers[0], PLACE, [], {}, [])
