import pytest

from agent.errors import InvalidObjectError
from agent.lab.oci.seccomp import Profile


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **more: object) -> dict[str, object]:
    return {"names": list(names), "action": action, "args": [], "comment": "", "includes": {}, "excludes": {}, **more}


ADMIN = {"caps": ["CAP_SYS_ADMIN"]}
NOT_ALLOWED = {"errnoRet": 1, "errno": "EPERM"}
RULES = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "defaultErrno": "ENOSYS",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ],
    "syscalls": [
        rule("read", "write"),
        rule("personality", args=[{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]),
        rule("arch_prctl", includes={"arches": ["amd64", "x32"]}),
        rule("breakpoint", includes={"arches": ["arm", "arm64"]}),
        rule("bpf", includes=ADMIN),
        rule("bpf", action="SCMP_ACT_ERRNO", excludes=ADMIN, **NOT_ALLOWED),
        rule("both", includes={"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}),
        rule("socket", args=None, includes={"caps": ["CAP_AUDIT_WRITE"]}),
    ],
}


def calls(machine: str, *capabilities: str) -> list[tuple[list[str], str]]:
    found = Profile(RULES, machine).for_capabilities(capabilities)
    return [(each["names"], each["action"].removeprefix("SCMP_ACT_")) for each in found["syscalls"]]


def test_rules_are_those_of_the_architecture_and_of_the_capabilities() -> None:
    shared = [(["read", "write"], "ALLOW"), (["personality"], "ALLOW")]
    assert calls("x86_64") == [*shared, (["arch_prctl"], "ALLOW"), (["bpf"], "ERRNO")]
    assert calls("aarch64") == [*shared, (["breakpoint"], "ALLOW"), (["bpf"], "ERRNO")]
    assert calls("x86_64", "CAP_SYS_ADMIN") == [*shared, (["arch_prctl"], "ALLOW"), (["bpf"], "ALLOW")]
    assert (["both"], "ALLOW") in calls("x86_64", "CAP_SYS_ADMIN", "CAP_BPF")
    assert (["both"], "ALLOW") not in calls("x86_64", "CAP_BPF")
    assert (["socket"], "ALLOW") in calls("x86_64", "CAP_AUDIT_WRITE")


def test_a_profile_has_the_form_that_the_runtime_specification_gives_it() -> None:
    found = Profile({**RULES, "syscalls": RULES["syscalls"][1:6]}, "x86_64").for_capabilities(())
    assert found == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
            },
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ],
    }


def test_no_rule_is_lost_for_a_condition_or_machine_that_is_not_known() -> None:
    newer = {**RULES, "syscalls": [rule("ptrace", includes={"minKernel": "4.8"})]}
    with pytest.raises(InvalidObjectError, match="condition minKernel; accepted are arches, caps"):
        Profile(newer, "x86_64").for_capabilities(())
    with pytest.raises(InvalidObjectError, match="machine 'vax'; accepted are x86_64, aarch64"):
        Profile(RULES, "vax").for_capabilities(())
