"""Which texts a command reads of the paths it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.files import texts
from agent.documents import UnreadableError
from agent.errors import NotFoundError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("b.yaml", "a.yml", "c.json", "readme.md", "inner/d.yaml"):
        (tmp_path / name).write_text(f"# {name}")
    return tmp_path


def test_of_a_folder_the_manifests_are_read_in_order(folder: Path) -> None:
    assert [text for _, text in texts([folder])] == ["# a.yml", "# b.yaml", "# c.json"]


def test_the_folders_inside_are_read_when_asked_for(folder: Path) -> None:
    assert list(texts([folder], is_recursive=True))[-1] == (f"{folder}/inner/d.yaml", "# inner/d.yaml")


def test_a_file_that_is_named_is_read_whatever_its_suffix(folder: Path) -> None:
    assert list(texts([folder / "readme.md"])) == [(f"{folder}/readme.md", "# readme.md")]


def test_one_unreadable_file_does_not_hide_the_others(folder: Path) -> None:
    (folder / "a.yml").write_bytes(b"\xff")
    [first, *others] = [text for _, text in texts([folder])]
    assert isinstance(first, UnreadableError)
    assert len(others) == 2


def test_a_path_that_is_not_there_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No such file or directory; give files or folders of manifests"):
        list(texts([tmp_path / "missing.yaml"]))


def test_a_device_without_an_end_is_read_no_further_than_a_file_may_be_large() -> None:
    [(_, text)] = texts([Path("/dev/zero")])
    assert str(text) == "/dev/zero: larger than 16 MiB; split it"


def test_a_folder_without_manifests_is_no_silent_success(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no manifest"):
        list(texts([tmp_path]))
