from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.metrics import NodeMetrics
from agent.node import cni_config
from agent.node.cni_install import Folders, Installation

OWN = cni_config.entry("/run/weft/cni.sock", {"kube-system"})
BRIDGE = {"type": "bridge"}
NETWORK = json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE]})
CHAINED = {"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE, OWN]}


class Node:
    """A node's two folders."""

    def __init__(self, root: Path, *, file: str = "", is_chained: bool = True) -> None:
        self.configurations, self.programs, self.source = root / "net.d", root / "bin", root / "weft-cni"
        self.configurations.mkdir(exist_ok=True)
        self.programs.mkdir(exist_ok=True)
        self.source.write_bytes(b"program 1")
        self.registry = CollectorRegistry()
        folders = Folders(self.configurations, self.programs, self.source, file, is_chained)
        self.installation = Installation(folders, OWN, NodeMetrics(self.registry))

    def write(self, name: str, text: str = NETWORK) -> Path:
        path = self.configurations / name
        path.write_text(text)
        return path

    def files(self) -> dict[str, object]:
        return {path.name: json.loads(path.read_text()) for path in self.configurations.iterdir()}

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_first_file_is_chained_and_the_others_are_left(node: Node) -> None:
    node.write("20-b.conflist")
    node.write("10-a.conflist").chmod(0o600)
    node.installation.bring()
    assert node.files() == {"10-a.conflist": CHAINED, "20-b.conflist": json.loads(NETWORK)}
    assert stat.S_IMODE((node.configurations / "10-a.conflist").stat().st_mode) == 0o600
    assert node.installation.report.file == "10-a.conflist"
    assert node.value("weft_cni_chained") == 1


def test_a_second_pass_writes_nothing(node: Node) -> None:
    path = node.write("10-a.conflist")
    node.installation.bring()
    before = path.stat()
    node.installation.bring()
    assert path.stat() == before
    assert node.value("weft_cni_changes_total") == 1


def test_a_broken_file_is_left_alone_reported_and_the_next_one_taken(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    broken = node.write("01-broken.conflist", "{")
    binary = node.write("02-binary.conflist", "")
    binary.write_bytes(b"\xff\xfe")
    node.write("10-a.conflist")
    node.installation.bring()
    node.installation.bring()
    assert (broken.read_text(), binary.read_bytes()) == ("{", b"\xff\xfe")
    assert node.installation.report.file == "10-a.conflist"
    assert set(node.installation.report.problems) == {"01-broken.conflist", "02-binary.conflist"}
    assert node.value("weft_cni_problems") == 2
    assert len(caplog.records) == 2


def test_without_a_network_nothing_is_chained(node: Node) -> None:
    node.installation.bring()
    assert node.files() == {}
    assert node.value("weft_cni_chained") == 0


def test_the_program_is_put_there_first_and_renewed(node: Node) -> None:
    node.installation.bring()
    program = node.programs / "weft-cni"
    assert (program.read_bytes(), stat.S_IMODE(program.stat().st_mode)) == (b"program 1", 0o755)
    node.source.write_bytes(b"program 2")
    node.installation.bring()
    assert program.read_bytes() == b"program 2"
    assert [path.name for path in node.programs.iterdir()] == ["weft-cni"]


def test_only_the_file_that_is_named_is_taken(tmp_path: Path) -> None:
    node = Node(tmp_path, file="20-b.conflist")
    node.write("10-a.conflist")
    node.write("20-b.conflist")
    node.installation.bring()
    assert node.files() == {"10-a.conflist": json.loads(NETWORK), "20-b.conflist": CHAINED}


def test_configurations_that_are_somebody_elses_to_edit_are_not_touched(tmp_path: Path) -> None:
    node = Node(tmp_path, is_chained=False)
    node.write("10-a.conflist")
    node.installation.bring()
    assert node.files() == {"10-a.conflist": json.loads(NETWORK)}
    assert (node.programs / "weft-cni").exists()


def test_removal_brings_back_what_was_there(node: Node) -> None:
    single = json.dumps({"cniVersion": "0.4.0", "name": "one", **BRIDGE})
    node.write("10-a.conf", single)
    node.write("20-b.conflist")
    node.write("30-broken.conflist", "{")
    before = {path.name: path.read_text() for path in node.configurations.iterdir()}
    node.installation.bring()
    assert not (node.configurations / "10-a.conf").exists()
    node.installation.remove()
    node.installation.remove()
    assert {path.name: path.read_text() for path in node.configurations.iterdir()} == before
    assert list(node.programs.iterdir()) == []


def test_the_program_stays_while_a_configuration_names_it_that_is_not_ours_to_edit(tmp_path: Path) -> None:
    node = Node(tmp_path, is_chained=False)
    path = node.write("10-a.conflist", json.dumps(CHAINED))
    node.installation.bring()
    node.installation.remove()
    assert json.loads(path.read_text()) == CHAINED
    assert (node.programs / "weft-cni").exists()


async def test_what_others_change_is_put_right(node: Node) -> None:
    task = asyncio.ensure_future(node.installation.keep())
    try:
        node.write("10-a.conflist")
        await reached(lambda: node.files() == {"10-a.conflist": CHAINED})
        node.write(".10-a.conflist.new").rename(node.configurations / "10-a.conflist")
        await reached(lambda: node.files() == {"10-a.conflist": CHAINED})
        (node.programs / "weft-cni").unlink()
        await reached((node.programs / "weft-cni").exists)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def reached(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not _tried(holds):  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)


def _tried(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except (ValueError, FileNotFoundError):
        return False  # the test's own write is not whole yet
