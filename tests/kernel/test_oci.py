"""Containers of a manifest, run by runc: what they are by their own account, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConflictError, KernelError
from agent.lab.cgroups import find_root
from agent.lab.layout import Layout, netns_path
from agent.lab.oci import root
from agent.lab.oci.specification import Mount
from agent.lab.record import ProcessId, Record, tear_down
from tests.support.containers import Containers, Object, containers
from tests.support.node_world import eventually

LOCKED = {
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
NODE_AGENT = {**LOCKED, "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}
NODE_AGENT["capabilities"] = {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]}
BIND_LOW = {"runAsUser": 1000, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}
MEMORY_LIMITS = ("memory.max", "memory.limit_in_bytes")  # of version 2, of version 1
DEFAULT_CAPABILITIES = 0xA80425FB


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Containers]:
    """Nothing of its containers may be left by a test."""
    with containers(tmp_path) as pod:
        yield pod
        assert pod.left() == []


def read(path: str) -> str:
    return Path(path).read_text()


def exists(path: str) -> bool:
    return Path(path).exists()


def runs(pid: int) -> bool:
    try:
        return not status(read(f"/proc/{pid}/status"))["State"].startswith("Z")
    except FileNotFoundError:
        return False


def parent(pid: int) -> int:
    return int(status(read(f"/proc/{pid}/status"))["PPid"])


def security(context: Object) -> Object:
    return {"securityContext": context}


def status(text: str) -> dict[str, str]:
    """/proc/PID/status."""
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in text.splitlines())}


@pytest.mark.parametrize(
    ("context", "bounding", "effective", "user", "group", "no_new_privileges", "filtered"),
    [
        ({}, DEFAULT_CAPABILITIES, DEFAULT_CAPABILITIES, 0, 0, "0", "0"),
        (LOCKED, 0, 0, 65532, 65532, "1", "2"),
        (NODE_AGENT, 1 << 12 | 1 << 21 | 1 << 19, 1 << 12 | 1 << 21 | 1 << 19, 0, 0, "1", "2"),
        (BIND_LOW, 1 << 10, 0, 1000, 0, "0", "0"),
    ],
    ids=["default", "locked", "node agent", "not root"],
)
async def test_a_process_has_exactly_the_privileges_that_its_manifest_gives(
    pod: Containers,
    context: Object,
    bounding: int,
    effective: int,
    user: int,
    group: int,
    no_new_privileges: str,
    filtered: str,
) -> None:
    seen = status(await pod.output("cat /proc/self/status", security(context), securityContext={"fsGroup": 7}))
    wanted = {
        "CapBnd": f"{bounding:016x}",
        "CapEff": f"{effective:016x}",
        "CapPrm": f"{effective:016x}",
        "CapInh": f"{0:016x}",
        "CapAmb": f"{0:016x}",
        "NoNewPrivs": no_new_privileges,
        "Seccomp": filtered,
        "Uid": " ".join([str(user)] * 4),
        "Gid": " ".join([str(group)] * 4),
        "Groups": "7",
    }
    assert {name: seen[name] for name in wanted} == wanted


async def test_a_privileged_container_has_what_the_machine_has(pod: Containers) -> None:
    script = "cat /proc/self/status; echo 1 > /proc/sys/net/ipv4/ip_forward; test -e /dev/net/tun -o -e /dev/kmsg"
    seen = status(await pod.output(script, security({"privileged": True})))
    own = status(read("/proc/self/status"))
    assert (seen["CapEff"], seen["Seccomp"]) == (own["CapBnd"], "0")


async def test_the_filter_refuses_a_call_that_the_kernel_would_allow(pod: Containers) -> None:
    program = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.acct(None), ctypes.get_errno())"
    context = {"capabilities": {"add": ["SYS_PTRACE"]}}
    denied = await pod.output(f"python3 -c '{program}'", security({**context, **filtered("RuntimeDefault")}))
    kcmp = "import ctypes, os; print(ctypes.CDLL(None).syscall(312, os.getpid(), os.getpid(), 1, 0, 0))"
    alone = {"capabilities": {"drop": ["ALL"]}}
    refused = await pod.output(f"python3 -c '{kcmp}'", security({**alone, **filtered("RuntimeDefault")}))
    allowed = await pod.output(f"python3 -c '{kcmp}'", security({**alone, **filtered("Unconfined")}))
    assert (denied, refused, allowed) == ("-1 1\n", "-1\n", "0\n")


def filtered(kind: str) -> Object:
    return {"seccompProfile": {"type": kind}}


async def test_a_read_only_root_and_the_machines_settings_cannot_be_written(pod: Containers) -> None:
    script = """
for file in /file /tmp/file /run/file /etc/file /proc/sys/net/ipv4/ip_forward /sys/kernel/profiling
do sh -c "echo 1 > $file" 2>&1 | grep -o 'Read-only file system' || echo "$file: written"; done
"""
    assert await pod.output(script, security(NODE_AGENT)) == "Read-only file system\n" * 6


async def test_what_is_written_to_a_writable_root_goes_with_the_container(pod: Containers) -> None:
    name = f"/{pod.netns}"
    assert await pod.output(f"echo 1 > {name}; rm /etc/passwd; cat {name}") == "1\n"
    assert (exists(name), exists("/etc/passwd")) == (False, True)
    assert await pod.output(f"test ! -e {name}; ls /etc/passwd") == "/etc/passwd\n"


async def test_namespaces_are_the_containers_own_but_the_network_is_its_pods(pod: Containers) -> None:
    kinds = ("mnt", "ipc", "uts", "pid", "cgroup", "net")
    links = " ".join(f"/proc/self/ns/{kind}" for kind in kinds)
    script = f"readlink {links}; hostname; echo $$; cat /proc/[0-9]*/comm; true"
    *seen, hostname, number, processes = (await pod.output(script)).splitlines()
    assert not set(seen) & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}  # noqa: PTH115 - it is no path
    assert (len(seen), seen[-1]) == (len(kinds), f"net:[{netns_path(pod.netns).stat().st_ino}]")
    assert (hostname, number, processes) == ("web-1", "1", "sh")


async def test_with_host_pid_a_container_sees_the_machines_processes(pod: Containers) -> None:
    script = f"readlink /proc/self/ns/pid; test -d /proc/{os.getpid()} && echo seen"
    seen = await pod.output(script, hostPID=True)
    assert seen == f"{os.readlink('/proc/self/ns/pid')}\nseen\n"  # noqa: PTH115 - it is no path


async def test_of_the_machine_only_volumes_are_there_and_as_the_manifest_says(pod: Containers, tmp_path: Path) -> None:
    for name in ("data", "settings"):
        (tmp_path / name).mkdir()
    (tmp_path / "settings/key").write_text("value")
    (tmp_path / "hosts").write_text("10.0.0.1 here\n")
    mounts = [
        Mount(tmp_path / "data", "/run/weft/data"),
        Mount(tmp_path / "settings", "/etc/of-the-test/settings", is_read_only=True),
        Mount(tmp_path / "hosts", "/etc/hosts", is_read_only=True),
        Mount(tmp_path / "hosts", "/var/run/secrets/hosts"),
    ]
    script = """
cat /etc/of-the-test/settings/key /etc/hosts /run/secrets/hosts
echo written > /run/weft/data/file
touch /etc/of-the-test/settings/key 2>/dev/null || echo refused
ls /run /tmp
cut -d' ' -f5 /proc/self/mountinfo | grep -v "^/proc\\|^/sys\\|^/dev"
"""
    seen = await pod.output(script, security(LOCKED | {"runAsUser": 0, "runAsNonRoot": False}), mounts=mounts)
    text, _, files = seen.partition("refused\n")
    assert text == "value10.0.0.1 here\n10.0.0.1 here\n"
    listed, _, targets = files.partition("/tmp:\n")
    assert listed.split() == ["/run:", "secrets", "weft"]
    wanted = {"/", "/etc/of-the-test/settings", "/etc/hosts", "/run/secrets/hosts", "/run/weft/data"}
    assert set(targets.split()) >= wanted
    assert (tmp_path / "data/file").read_text() == "written\n"
    assert not exists("/etc/of-the-test")


async def test_the_environment_is_the_manifests_and_our_programs_come_first(pod: Containers) -> None:
    environment = {"NODE_NAME": "node-1"}
    seen = await pod.output("env; which weft", {"workingDir": "/usr"}, environment=environment)
    own = str(Path(__file__).parents[2] / ".venv/bin")
    *variables, program = seen.splitlines()
    path = f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    wanted = {f"PATH={path}", "HOME=/root", "HOSTNAME=web-1", "NODE_NAME=node-1", "PWD=/usr"}
    assert (set(variables), program) == (wanted, f"{own}/weft")


def test_a_folder_of_a_closed_one_is_reached_and_the_closed_one_is_not_read(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="weft-test-", dir="/var/tmp") as closed:  # of mode 0700
        program = Path(closed, "checkout", "bin")
        program.mkdir(parents=True)
        (program / "program").write_text("words")
        root.mount(tmp_path, [program])
        try:
            seen = tmp_path / "root" / program.relative_to("/")
            assert (seen / "program").read_text() == "words"
            assert stat.S_IMODE(seen.parents[1].stat().st_mode) == 0o711
            assert stat.S_IMODE(Path(closed).stat().st_mode) == 0o700
        finally:
            root.remove(tmp_path)


async def test_our_program_runs_with_everything_dropped(pod: Containers) -> None:
    assert await pod.output("weft version; echo $HOME", security(LOCKED)) == f"{metadata.version('weft')}\n/\n"


async def test_the_kernel_limits_a_containers_memory(pod: Containers) -> None:
    running = await pod.start(["sleep", "infinity"], {"resources": {"limits": {"memory": "32Mi"}}})
    files = [folder / "main" / name for folder in pod.cgroup_folders for name in MEMORY_LIMITS]
    assert [file.read_text() for file in files if file.exists()] == [f"{32 << 20}\n"]
    await running.delete()


async def test_an_end_is_told_to_all_who_wait_with_its_exit_status(pod: Containers) -> None:
    running = await pod.start(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert await asyncio.gather(running.wait(), running.wait()) == [7, 7]
    running.signal(signal.SIGTERM)  # to nobody
    await running.delete()
    await running.delete()
    assert sorted(pod.log.read_text().splitlines()) == ["err", "out"]


async def test_signals_reach_the_first_process(pod: Containers) -> None:
    running = await pod.start(["sh", "-c", "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.02; done"])
    await asyncio.to_thread(eventually, lambda: "ready" in pod.log.read_text())
    assert read(f"/proc/{running.pid}/comm") == "sh\n"
    running.signal(signal.SIGTERM)
    assert await running.wait() == 3
    await running.delete()
    other = await pod.start(["sleep", "infinity"])
    other.signal(signal.SIGKILL)
    assert await other.wait() == 128 + signal.SIGKILL
    await other.delete()


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["no-such-program"], {}, "executable file not found in .PATH"),
        (["/etc/passwd"], {}, "permission denied"),
        (["true"], {"mounts": [Mount(Path("/nowhere/at-all"), "/data")]}, "/nowhere/at-all.*no such file"),
    ],
    ids=["no program", "not a program", "no volume"],
)
async def test_a_container_that_cannot_start_says_why_and_leaves_nothing(
    pod: Containers, words: list[str], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(KernelError, match=said):
        await pod.start(words, **more)
    assert pod.left() == []


async def test_a_command_in_a_container_has_its_privileges_and_its_answer_comes_back(pod: Containers) -> None:
    running = await pod.start(["sleep", "infinity"], security(LOCKED), environment={"COLOUR": "blue"})
    script = "echo $COLOUR $(id -u); echo err >&2; grep CapBnd /proc/self/status; exit 4"
    answer = await running.run(["sh", "-c", script], 10)
    lines = sorted(answer.output.splitlines())  # which of the two outputs comes first is not said
    assert (answer.status, lines) == (4, [b"CapBnd:\t0000000000000000", b"blue 65532", b"err"])
    with pytest.raises(KernelError, match="executable file not found"):
        await running.run(["no-such-program"], 10)
    assert (await running.run(["sh", "-c", "exit 255"], 10)).status == 255
    await running.delete()


async def test_a_command_that_takes_too_long_is_killed(pod: Containers) -> None:
    running = await pod.start(["sleep", "infinity"])
    with pytest.raises(TimeoutError):
        await running.run(["sh", "-c", "sleep 4321 & wait"], 0.5)
    left = await running.run(["sh", "-c", "cat /proc/[0-9]*/cmdline"], 10)  # empty of those that have ended
    assert left.output.startswith(b"sleep\0infinity\0")
    assert b"4321" not in left.output
    await running.delete()


async def test_a_command_that_is_given_up_at_its_start_holds_nobody_up(pod: Containers) -> None:
    running = await pod.start(["sleep", "infinity"])
    async with asyncio.timeout(2):
        with pytest.raises(TimeoutError):
            await running.run(["sleep", "4321"], 0.001)
    await running.delete()


@pytest.mark.parametrize("host_pid", [False, True])
async def test_a_container_goes_with_all_its_processes(pod: Containers, host_pid: bool) -> None:
    script = "setsid sleep infinity & setsid sleep infinity & echo ready; wait"
    running = await pod.start(["sh", "-c", script], hostPID=host_pid)
    await asyncio.to_thread(eventually, lambda: "ready" in pod.log.read_text())
    processes = [int(pid) for pid in (pod.cgroup_folders[0] / "main/cgroup.procs").read_text().split()]
    assert len(processes) == 3
    await running.delete()
    assert pod.left() == []
    assert not [pid for pid in processes if runs(pid)]


async def test_a_container_ends_with_its_first_process_though_others_hold_its_output(pod: Containers) -> None:
    running = await pod.start(["sh", "-c", "setsid sleep infinity & exit 6"], hostPID=True)
    async with asyncio.timeout(10):
        assert await running.wait() == 6
    await running.delete()


async def test_a_name_is_used_once_until_its_container_is_deleted(pod: Containers) -> None:
    running = await pod.start(["sleep", "infinity"])
    pod.started.clear()
    with pytest.raises(ConflictError, match="1-main-0"):
        await pod.start(["true"])
    assert runs(running.pid)
    await running.delete()
    again = await pod.start(["true"])
    assert await again.wait() == 0
    await again.delete()


async def test_a_start_that_is_given_up_leaves_nothing(pod: Containers) -> None:
    for patience in (0.0, 0.01, 0.03, 0.05):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience):
                running = await pod.start(["sleep", "infinity"])
                await running.wait()
        for running in pod.started:
            await running.delete()
        assert pod.left() == []
        pod.started.clear()


async def test_a_lab_that_is_taken_down_after_a_crash_leaves_no_container() -> None:
    layout = Layout(f"t{os.getpid()}", find_root(read("/proc/self/mountinfo")))
    layout.root.mkdir(parents=True)
    with containers(layout.root, layout.cgroup.name) as pod:
        running = await pod.start(["sleep", "infinity"], hostPID=True)
        os.kill(parent(running.pid), signal.SIGKILL)  # what watches it goes with a crash
        assert await running.wait() == 128 + signal.SIGKILL
        assert runs(running.pid)
        record = Record(ProcessId.of(os.getpid()), (), str(layout.cgroup))
        await asyncio.to_thread(tear_down, layout, record)
        assert (pod.left(), layout.root.exists(), runs(running.pid)) == ([], False, False)
        assert not [folder for folder in pod.cgroup_folders if folder.exists()]
