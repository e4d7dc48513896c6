"""Containers of the image, each with exactly what its manifest gives it and no network."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from agent.api.pods.spec import RunnablePod
from agent.kube import StateDirectory
from agent.lab.oci.specification import Mount
from agent.node import layout
from tests.image.test_contents import VERSION
from tests.support.controller import await_line
from tests.support.image import ROOT, Image, a_bpffs, shipped_pod
from tests.support.signer import Signer

# Of the three, the one that may nothing: nobody, without a capability, its root read-only.
CONTROLLER = shipped_pod("controller.yaml", "weft-controller")
NODE = shipped_pod("node.yaml", "weft-node")
DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"

WRITE = "open('/opt/weft/written', 'w')"
IMPORT_ALL = """
import importlib, pkgutil, agent
for module in pkgutil.walk_packages(agent.__path__, "agent."):
    importlib.import_module(module.name)
"""


def test_nobody_runs_it_on_a_read_only_root_without_a_network(image: Image) -> None:
    assert image.run(CONTROLLER, "weft", "version") == f"{VERSION}\n"
    with image.started(CONTROLLER, "python3", "-c", f"import os; print(os.getuid()); {WRITE}") as process:
        output, errors = process.communicate(timeout=30)
    assert (output, process.returncode) == (b"65532\n", 1)
    assert b"Read-only file system: '/opt/weft/written'" in errors


@pytest.mark.parametrize("process", ["node", "proxy", "controller"])
def test_every_process_starts(image: Image, process: str) -> None:
    assert f"weft {process} [OPTIONS]" in image.run(CONTROLLER, "weft", process, "--help")


def test_every_module_finds_what_it_imports(image: Image) -> None:
    image.run(CONTROLLER, "python3", "-c", IMPORT_ALL)


def test_the_programs_are_compiled_and_loaded_with_the_node_agents_privileges(image: Image, tmp_path: Path) -> None:
    with a_bpffs(tmp_path / "bpf") as pins:
        mounts = [*empty_volumes(NODE, tmp_path), Mount(pins, "/sys/fs/bpf")]
        image.run(NODE, "python3", "-m", "agent.node.loader", "/sys/fs/bpf/weft/v1", mounts=mounts)
        loaded = {path.name for path in (pins / "weft/v1/programs").iterdir()}
    assert loaded == {program.name for program in layout.PROGRAMS}


def empty_volumes(pod: RunnablePod, folder: Path) -> list[Mount]:
    """All that the pod mounts but the BPF file system, as folders with nothing in them."""
    mounts = []
    for mount in pod.spec.containers[0].volume_mounts:
        if mount.mount_path != "/sys/fs/bpf":
            (folder / mount.name).mkdir()
            mounts.append(Mount(folder / mount.name, mount.mount_path))
    return mounts


def test_the_controller_runs_as_nobody_until_it_is_told_to_stop(image: Image, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(Signer().key_set())
    StateDirectory.create_at(tmp_path / "state")
    (tmp_path / "ca").mkdir()
    for folder in (tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())):
        folder.chmod(0o777)
    environment = {
        "WEFT_STATE_DIRECTORY": "/given/state",
        "WEFT_CA_DIRECTORY": "/given/ca",
        "WEFT_TOKEN_JWKS": "/given/jwks.json",
    }
    mounts = [Mount(tmp_path, "/given")]
    with image.started(CONTROLLER, "weft", "controller", mounts=mounts, environment=environment) as process:
        await_line(process, b"cluster read")
        assert (tmp_path / "ca/root-cert.pem").stat().st_uid == 65532
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_cni_plugin_runs_where_there_is_nothing_else(image: Image, tmp_path: Path) -> None:
    (tmp_path / "weft-cni").write_bytes((image.files / "opt/weft/bin/weft-cni").read_bytes())
    (tmp_path / "weft-cni").chmod(0o755)
    done = subprocess.run(
        ["/usr/sbin/chroot", str(tmp_path), "/weft-cni"],
        env={"CNI_COMMAND": "VERSION"},
        input=b'{"cniVersion": "1.0.0"}',
        capture_output=True,
        check=True,
        timeout=10,
    )
    assert b'"1.0.0"' in done.stdout


def test_a_persons_commands_need_neither_the_source_nor_debians_packages(image: Image, tmp_path: Path) -> None:
    """As after `pip install weft-*.whl` on any machine: bcc is not there."""
    (tmp_path / "none").mkdir()
    mounts = [
        Mount(tmp_path / "none", DEBIAN_PACKAGES, is_read_only=True),
        Mount(ROOT / "examples", "/examples", is_read_only=True),
    ]
    assert image.run(CONTROLLER, "weft", "version", mounts=mounts) == f"{VERSION}\n"
    image.run(CONTROLLER, "weft", "validate", "-f", "/examples/policies", mounts=mounts)
    image.run(CONTROLLER, "weft", "analyze", "-f", "/examples/shop", "/examples/policies", mounts=mounts)
