"""One root takes another's place in the engine: it believes all that it was given, and tunnels that are open stay."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.model import Identity
from agent.wire import HBONE_PORT
from tests.support.hbone import Tunnel
from tests.support.mesh import credentials
from tests.support.served import ADDRESS, PORT, Served, served

WEB = Identity("shop", "web")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Of the old authority and of the new one. Their roots go by the same name, as those of our own do."""
    return tmp_path / "old", tmp_path / "new"


@pytest.fixture
def pod(folders: tuple[Path, Path]) -> Iterator[Served]:
    with served(folders[0]) as running:
        yield running


def give(pod: Served, signer: Path, *believed: Path) -> None:
    """A renewed certificate of the pod's own, and the roots that came with it."""
    own = credentials(signer, WEB)
    roots = [credentials(each, WEB).roots for each in believed]
    pod.engine.set_certificate(str(WEB), own.key, [own.chain], roots)


@contextlib.contextmanager
def call(pod: Served, signer: Path, believes: Path) -> Iterator[Tunnel]:
    """Of a peer with a certificate of one authority that believes the other, or the same."""
    shown = credentials(signer, Identity("shop", "client"), roots=credentials(believes, WEB).roots)
    with Tunnel(pod.connected(HBONE_PORT), shown) as tunnel:
        assert tunnel.connect(f"{ADDRESS}:{PORT}")[1] == 200
        yield tunnel


def is_refused(pod: Served, signer: Path, believes: Path) -> bool:
    try:
        with call(pod, signer, believes):
            return False
    except (ssl.SSLError, ConnectionError):
        return True


def test_both_roots_are_believed_until_one_goes_and_open_tunnels_stay(pod: Served, folders: tuple[Path, Path]) -> None:
    old, new = folders
    assert is_refused(pod, new, old)
    give(pod, old, old, new)
    with call(pod, old, old) as open_since_then, call(pod, new, old):
        give(pod, new, new, old)
        with call(pod, old, new), call(pod, new, new):
            give(pod, new, new)
            assert is_refused(pod, old, new)
            assert open_since_then.connect(f"{ADDRESS}:{PORT}")[1] == 200
