from pathlib import Path

import pytest

from agent.errors import UnavailableError
from agent.proxy.ledger import Resource, Update
from agent.proxy.saved import SavedState
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE

STATE = {ADDRESS_TYPE: [Resource("a", "1", b"\xf8\x07\x01")], AUTHORIZATION_TYPE: [Resource("shop/p", "2", b"policy")]}


def test_what_is_saved_is_loaded_policies_first(tmp_path: Path) -> None:
    saved = SavedState(tmp_path)
    assert saved.load() == []
    saved.save(STATE)
    assert saved.load() == [Update(kind, "", tuple(STATE[kind])) for kind in (AUTHORIZATION_TYPE, ADDRESS_TYPE)]


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_ignored(tmp_path: Path, damage: bytes | None) -> None:
    saved = SavedState(tmp_path)
    saved.save(STATE)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert saved.load() == []


def test_a_writer_that_died_halfway_leaves_both_types_as_they_were(tmp_path: Path) -> None:
    saved = SavedState(tmp_path)
    saved.save(STATE)
    (path,) = tmp_path.iterdir()
    before = saved.load()
    (tmp_path / f".{path.name}.1").write_bytes(path.read_bytes()[:40])
    assert saved.load() == before


def test_a_disk_that_does_not_take_it_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match="state cannot be saved"):
        SavedState(tmp_path / "file").save(STATE)
