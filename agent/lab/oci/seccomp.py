"""The seccomp profile RuntimeDefault: which system calls a container may make.

Debian ships it as a list of rules with conditions, one form for every architecture and set of
capabilities (golang-github-containers-common, /usr/share/containers/seccomp.json). A runtime
wants the rules that hold for one container. It is not byte for byte containerd's profile:
mount and setns are left to the kernel's own check of CAP_SYS_ADMIN.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agent.errors import InvalidObjectError
from agent.kube import Object

# What Debian's architectures are called in the profile: conditions, and the kernel's filters.
ARCHITECTURES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}
_CONDITIONS = {"arches", "caps"}


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules with their conditions, and the machine they are for (as uname says)."""

    rules: Object
    machine: str

    def for_capabilities(self, capabilities: Collection[str]) -> Object:
        """The profile in OCI's form for a container whose bounding set is given, as CAP_NAME.

        InvalidObjectError for a machine or a condition that is not known: a rule must not be lost.
        """
        if self.machine not in ARCHITECTURES:
            raise InvalidObjectError(f"seccomp: machine {self.machine!r}; accepted are {', '.join(ARCHITECTURES)}")
        name, architecture = ARCHITECTURES[self.machine]
        more = [entry["subArchitectures"] for entry in self.rules["archMap"] if entry["architecture"] == architecture]
        return {
            "defaultAction": self.rules["defaultAction"],
            "defaultErrnoRet": self.rules["defaultErrnoRet"],
            "architectures": [architecture, *(other for others in more for other in others)],
            "syscalls": [
                _in_oci_form(rule) for rule in self.rules["syscalls"] if _holds(rule, name, frozenset(capabilities))
            ],
        }


def _holds(rule: Mapping[str, Object], architecture: str, capabilities: frozenset[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if unknown := (includes.keys() | excludes.keys()) - _CONDITIONS:
        raise InvalidObjectError(f"seccomp: condition {', '.join(sorted(unknown))}; accepted are arches, caps")
    if architecture in excludes.get("arches", ()) or capabilities & set(excludes.get("caps", ())):
        return False
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    return capabilities >= set(includes.get("caps", ()))


def _in_oci_form(rule: Object) -> Object:
    found: Object = {"names": rule["names"], "action": rule["action"]}
    if rule.get("args"):
        found["args"] = rule["args"]
    if "errnoRet" in rule:
        found["errnoRet"] = rule["errnoRet"]
    return found
