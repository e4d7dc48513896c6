"""The texts of the files, folders and standard input that a command is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.documents import UnreadableError
from agent.errors import NotFoundError
from agent.manifests import MAX_BYTES, SUFFIXES, decode

STANDARD_INPUT = "-"


def texts(paths: Iterable[Path], *, is_recursive: bool = False) -> Iterator[tuple[str, str | UnreadableError]]:
    """Each file's name with its text, or with the reason why it has none.

    `-` is standard input. Of a folder the manifests count, and with `is_recursive` those of the
    folders in it. Raises NotFoundError for a path that cannot be opened, or a folder without any.
    """
    for path in paths:
        files = list(_inside(path, is_recursive))
        if not files:
            raise NotFoundError(f"{path} holds no manifest (accepted: {', '.join(SUFFIXES)}); folders in it need -R")
        for file in files:
            name = str(file)
            try:
                yield name, decode(_content(file), name)
            except UnreadableError as exc:
                yield name, exc


def _inside(path: Path, is_recursive: bool) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(folders) if is_recursive else []
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(SUFFIXES))


def _content(path: Path) -> bytes:
    """At most one byte more than is accepted, so that a device or a pipe ends too."""
    if str(path) == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise NotFoundError(f"cannot read {path}: {exc.strerror}; give files or folders of manifests") from exc
