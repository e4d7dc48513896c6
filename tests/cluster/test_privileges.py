"""Least privilege: each thing that the manifests grant is taken away in turn, and what no longer works says so.

Two nodes at once: the first has no node agent of its DaemonSet and tries those that lack something, the second has no
node proxy of its DaemonSet and tries proxies and controllers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.lab.session import until
from agent.node import cgroups
from tests.support.installation import SYSTEM, Installation
from tests.support.lab_pods import corner, pod, shell
from tests.support.lab_world import LabWorld
from tests.support.trials import ACCOUNT, Sign, Trial, grants, template

SIGNS: Mapping[str, Mapping[str, Sign]] = {
    "node.yaml": {
        "hostPID": Sign("the agent needs hostPID: true", "pending"),
        "capability NET_ADMIN": Sign("is CAP_NET_ADMIN missing?", "pending"),
        "capability SYS_ADMIN": Sign("is CAP_SYS_ADMIN missing?", "ends"),
        "capability SYS_PTRACE": Sign("is CAP_SYS_PTRACE missing", "pending"),
        "mount bpf": Sign("mount the node's BPF file system, /sys/fs/bpf", "ends"),
        "mount cgroup": Sign("mount the node's, /sys/fs/cgroup, where WEFT_CGROUP_ROOT is", "ends"),
        "mount settings": Sign("is /proc/sys read-only? mount the node's at /host/proc/sys", "pending"),
        "mount hand-over": Sign("mount the node's /var/run/ztunnel there", "ends"),
        "mount run": Sign("mount the node's /run/weft there", "ends"),
        # The image may have the folder or not: then the node's is not there, or it cannot be made.
        "mount cni-configuration": Sign("CNI configuration", "unchained"),
        "mount cni-programs": Sign("CNI_BIN_DIR must be the node's folders, mounted writable", "unchained"),
        ACCOUNT: Sign("this is no pod with a service account", "ends"),
    },
    "proxy.yaml": {
        "capability NET_ADMIN": Sign("is CAP_NET_ADMIN missing?", "ends"),
        "capability SYS_ADMIN": Sign("Operation not permitted", "pending"),
        "mount hand-over": Sign("no node agent", "unready"),
        "mount state": Sign("state cannot be saved", "goes on"),
        "mount token": Sign("var/run/secrets/tokens/istio-token", "unready"),
        "mount root": Sign("var/run/secrets/istio/root-cert.pem", "unready"),
    },
    "controller.yaml": {ACCOUNT: Sign("this is no pod with a service account", "ends")},
}
LANES = {"node-1": ("node.yaml",), "node-2": ("proxy.yaml", "controller.yaml")}
CASES = [(file, grant) for file, signs in SIGNS.items() for grant in signs]
WORKLOADS = {"weft-node": "node.yaml", "weft-proxy": "proxy.yaml", "weft-controller": "controller.yaml"}
CAPABILITY_BITS = {"NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21}  # include/uapi/linux/capability.h


@pytest.fixture(scope="module")
def mesh(world: LabWorld) -> Installation:
    installation = Installation(world)
    installation.apply()
    return installation


@pytest.fixture(scope="module")
def trials(mesh: Installation) -> Iterator[dict[tuple[str, str], Future[None]]]:
    """All of them, as they come to their end."""
    with corner(mesh.world) as here:
        found = {
            (file, grant): Trial(mesh, here, node, file, grant)
            for node, files in LANES.items()
            for file in files
            for grant in SIGNS[file]
        }
        here.put(*(pod(trial.name, shell("exec sleep infinity"), nodeName=trial.node) for trial in found.values()))
        here.wait("--for=condition=Ready", "pods", "--all")
        confine(mesh, "weft-proxy", "node-1")  # first: a new proxy begins with the agent's help
        confine(mesh, "weft-node", "node-2")
        with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
            lanes = {"node-1": first, "node-2": second}
            yield {case: lanes[trial.node].submit(trial.see, SIGNS[case[0]][case[1]]) for case, trial in found.items()}
        for daemon_set in ("weft-node", "weft-proxy"):
            confine(mesh, daemon_set, None)


def confine(mesh: Installation, daemon_set: str, node: str | None) -> None:
    """Have pods of a DaemonSet on one node only, or again on all."""
    selector = {"nodeSelector": {"kubernetes.io/hostname": node}}
    patch = json.dumps({"spec": {"template": {"spec": selector}}})
    mesh.kubectl("patch", "daemonset", daemon_set, "--type=merge", f"--patch={patch}")
    mesh.await_rollout(f"daemonset/{daemon_set}")
    wanted = {node} if node else {"node-1", "node-2"}

    def is_done() -> bool:
        return {found["spec"]["nodeName"] for found in mesh.pods(f"app={daemon_set}")} == wanted

    until(f"{daemon_set} is on {', '.join(wanted)}", is_done, timeout=60, pause=0.2)


@pytest.mark.parametrize("file", SIGNS)
def test_every_grant_of_a_manifest_has_its_trial(file: str) -> None:
    assert grants(file) == set(SIGNS[file])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("file", "grant"), CASES)
def test_what_lacks_a_privilege_says_so(trials: dict[tuple[str, str], Future[None]], file: str, grant: str) -> None:
    trials[file, grant].result()


@pytest.mark.parametrize("app", WORKLOADS)
def test_what_runs_has_the_privileges_of_its_manifest_and_no_more(mesh: Installation, app: str) -> None:
    security = template(WORKLOADS[app])["spec"]["containers"][0]["securityContext"]
    bits = sum(1 << CAPABILITY_BITS[name] for name in security["capabilities"].get("add", ()))
    user = "65532" if app == "weft-controller" else "0"
    given = f"{bits:016x}" if user == "0" else "0" * 16
    for process in processes(mesh, app):
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        assert {name: status[name] for name in ("NoNewPrivs", "Seccomp", "CapBnd", "CapEff", "CapPrm", "CapInh")} == {
            "NoNewPrivs": "1",
            "Seccomp": "2",
            "CapBnd": f"{bits:016x}",
            "CapEff": given,
            "CapPrm": given,
            "CapInh": "0" * 16,
        }
        assert status["Uid"].split() == [user] * 4
        assert mount_options(process, "/") >= {"ro"}


def test_the_node_proxy_has_no_token_for_the_cluster_s_api(mesh: Installation) -> None:
    for process in processes(mesh, "weft-proxy"):
        secrets = process / "root/run/secrets"  # where /var/run leads
        assert {path.name for path in secrets.iterdir()} == {"istio", "tokens"}
        claims = (secrets / "tokens/istio-token").read_text()
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": claims}}
        plane = mesh.world.plane
        said: Any = json.loads(plane.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
        assert not said["status"].get("authenticated", False)


def processes(mesh: Installation, app: str) -> list[Path]:
    """The folder in /proc of each process of an app's pods, one or more for each pod."""
    root = cgroups.find_mount().path
    found = []
    for each in mesh.pods(f"app={app}", SYSTEM):
        own = [Path(f"/proc/{number}") for number in cgroups.processes_of(each["metadata"]["uid"], root)]
        command = "\0".join(template(WORKLOADS[app])["spec"]["containers"][0]["command"]) + "\0"
        weft = [process for process in own if (process / "cmdline").read_bytes().decode().endswith(command)]
        assert weft, f"{each['metadata']['name']} has no process"
        found += weft
    return found


def mount_options(process: Path, target: str) -> set[str]:
    """How a process sees what is mounted there."""
    lines = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    return next(set(line[5].split(",")) for line in reversed(lines) if line[4] == target)
