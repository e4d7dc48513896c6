from typing import Any

import pytest

from agent.errors import InvalidObjectError
from agent.lab.oci.privileges import CAPABILITIES, Machine, capabilities, seccomp, user
from agent.lab.oci.seccomp import Profile
from tests.support.containers import a_runnable_pod

RULES = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": [], "syscalls": []}
MACHINE = Machine(Profile(RULES, "x86_64"), frozenset(CAPABILITIES) - {"SYS_MODULE"})
DEFAULT = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"),
    *("CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE"),
    "CAP_SETFCAP",
]
ALL = [f"CAP_{name}" for name in CAPABILITIES if name != "SYS_MODULE"]


def bounding(context: dict[str, Any]) -> list[str]:
    pod = a_runnable_pod({"securityContext": context})
    return capabilities(pod, pod.spec.containers[0], MACHINE)


def changed(**changes: list[str]) -> list[str]:
    return bounding({"capabilities": changes})


def test_every_capability_of_the_kernel_has_its_number() -> None:
    numbers = {"CHOWN": 0, "NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "PERFMON": 38, "BPF": 39}
    assert {name: CAPABILITIES.index(name) for name in numbers} == numbers
    assert (len(CAPABILITIES), CAPABILITIES[-1]) == (41, "CHECKPOINT_RESTORE")


def test_capabilities_are_the_default_set_as_the_manifest_changes_it() -> None:
    assert bounding({}) == DEFAULT
    assert changed(drop=["ALL"]) == []
    assert changed(drop=["ALL"], add=["SYS_ADMIN", "NET_ADMIN"]) == ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
    assert changed(add=["SYS_TIME"], drop=["MKNOD"]) == [
        *("CAP_SYS_TIME" if name == "CAP_MKNOD" else name for name in DEFAULT),
    ]
    assert changed(add=["KILL"], drop=["KILL"]) == [name for name in DEFAULT if name != "CAP_KILL"]


def test_all_is_what_the_machine_has_but_what_is_named_is_given_in_any_case() -> None:
    assert changed(add=["ALL"]) == bounding({"privileged": True}) == ALL
    assert changed(add=["ALL"], drop=["BPF"]) == [name for name in ALL if name != "CAP_BPF"]
    assert changed(drop=["ALL"], add=["SYS_MODULE"]) == ["CAP_SYS_MODULE"]


def test_a_capability_that_the_kernel_has_not_is_refused_with_those_it_has() -> None:
    said = "Pod default/web-1: container main: securityContext.capabilities: NET_ADMN; accepted are ALL, CHOWN, "
    with pytest.raises(InvalidObjectError, match=said):
        changed(add=["NET_ADMN"])


@pytest.mark.parametrize(
    ("shared", "own", "found"),
    [
        ({}, {}, (0, 0, [])),
        ({"runAsUser": 7, "runAsGroup": 8}, {}, (7, 8, [])),
        ({"runAsUser": 7, "runAsGroup": 8}, {"runAsUser": 0}, (0, 8, [])),
        ({"runAsUser": 7}, {"runAsGroup": 9, "runAsNonRoot": True}, (7, 9, [])),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}, (0, 0, [])),
        ({"supplementalGroups": [5, 6], "fsGroup": 6}, {}, (0, 0, [5, 6])),
        ({"supplementalGroups": [5], "fsGroup": 0}, {}, (0, 0, [5, 0])),
    ],
)
def test_a_container_says_who_it_is_and_else_its_pod(
    shared: dict[str, Any], own: dict[str, Any], found: tuple[int, int, list[int]]
) -> None:
    pod = a_runnable_pod({"securityContext": own}, securityContext=shared)
    uid, gid, groups = found
    assert user(pod, pod.spec.containers[0]) == {"uid": uid, "gid": gid, "additionalGids": groups}


@pytest.mark.parametrize("own", [{}, {"runAsUser": 0}])
def test_root_is_refused_when_the_manifest_says_that_nobody_is(own: dict[str, int]) -> None:
    pod = a_runnable_pod({"securityContext": own}, securityContext={"runAsNonRoot": True})
    with pytest.raises(InvalidObjectError, match="container main: runAsNonRoot, but the user is root; accepted is"):
        user(pod, pod.spec.containers[0])


@pytest.mark.parametrize(
    ("shared", "own", "is_filtered"),
    [
        ({}, {}, False),
        ({"seccompProfile": {"type": "RuntimeDefault"}}, {}, True),
        ({"seccompProfile": {"type": "RuntimeDefault"}}, {"seccompProfile": {"type": "Unconfined"}}, False),
        ({}, {"seccompProfile": {"type": "RuntimeDefault"}}, True),
        ({"seccompProfile": {"type": "RuntimeDefault"}}, {"privileged": True}, False),
    ],
)
def test_calls_are_filtered_where_the_manifest_says_so(
    shared: dict[str, Any], own: dict[str, Any], is_filtered: bool
) -> None:
    pod = a_runnable_pod({"securityContext": own}, securityContext=shared)
    assert (seccomp(pod, pod.spec.containers[0], MACHINE, []) is not None) == is_filtered
