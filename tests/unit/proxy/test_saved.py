from pathlib import Path

import pytest

from agent.errors import UnavailableError
from agent.proxy.ledger import Resource, Update
from agent.proxy.saved import SavedState
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = SavedState(tmp_path)
    saved.save(ADDRESS_TYPE, [Resource("a", "1", b"\xf8\x07\x01")])
    assert saved.load(ADDRESS_TYPE) == Update(ADDRESS_TYPE, "", (Resource("a", "1", b"\xf8\x07\x01"),))
    assert saved.load(AUTHORIZATION_TYPE) is None


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_ignored(tmp_path: Path, damage: bytes | None) -> None:
    saved = SavedState(tmp_path)
    saved.save(ADDRESS_TYPE, [Resource("a", "1", b"value")])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert saved.load(ADDRESS_TYPE) is None


def test_a_disk_that_does_not_take_it_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match="state cannot be saved"):
        SavedState(tmp_path / "file").save(ADDRESS_TYPE, [])
