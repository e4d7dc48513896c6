"""When the file with the mesh's roots changes, certificates are renewed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.proxy.roots import LOOK_SECONDS, follow

Step = Callable[[Path], object]


class Over(Exception):
    """The script has ended."""


async def renewals(path: Path, *script: Step) -> list[float]:
    """How often certificates were renewed, by the pause before each; before each look the script goes a step."""
    steps = list(script)
    slept: list[float] = []
    renewed: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if seconds == LOOK_SECONDS:
            if not steps:
                raise Over
            steps.pop(0)(path)

    try:
        await follow(path, lambda: renewed.append(slept[-1]), sleep=sleep, spread=lambda: 7.0)
    except Over:
        return renewed
    raise AssertionError("it has no end")


def write(text: str) -> Step:
    return lambda path: path.write_text(text)


def nothing(path: Path) -> None:
    """The file stays as it is."""


def remove(path: Path) -> None:
    path.unlink()


async def test_a_change_renews_once_after_a_pause_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "root-cert.pem"
    path.write_text("old")
    assert await renewals(path, nothing, write("old new"), nothing, write("new"), nothing) == [7.0, 7.0]


async def test_a_file_that_is_away_or_comes_back_as_it_was_has_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "root-cert.pem"
    path.write_text("old")
    assert await renewals(path, remove, nothing, write("old"), nothing) == []


async def test_a_file_that_comes_late_is_no_change(tmp_path: Path) -> None:
    assert await renewals(tmp_path / "root-cert.pem", nothing, write("first"), nothing) == []
