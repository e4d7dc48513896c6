"""The files a person edits: read at first, and again whenever they change, however they are saved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from asyncinotify import Inotify, Mask

from agent.errors import ConfigError
from agent.manifests import SUFFIXES

_CHANGES = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE
# Some editors move the old file away, or empty it, before they write the new one.
GONE_AFTER_SECONDS = 0.25


class ManifestFiles:
    """The manifests among the given files and folders."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises ConfigError for a path that does not exist."""
        for path in paths:
            if not path.exists():
                raise ConfigError(f"{path} does not exist; give files or folders of manifests")
        self._files = {path.absolute() for path in paths if not path.is_dir()}
        self._folders = {path.absolute() for path in paths if path.is_dir()}

    async def texts(self) -> AsyncIterator[dict[Path, str]]:
        """What all files say at first, then what has changed; the text of a file that is gone is empty."""
        touched: asyncio.Queue[Path] = asyncio.Queue()
        with Inotify() as inotify:
            for folder in self._folders | {file.parent for file in self._files}:
                inotify.add_watch(folder, _CHANGES)
            yield {path: _read(path) for path in self._present()}
            collector = asyncio.create_task(self._collect(inotify, touched))
            try:
                while True:
                    path = await touched.get()
                    yield {path: _read(path)}
            finally:
                collector.cancel()

    async def _collect(self, inotify: Inotify, touched: asyncio.Queue[Path]) -> None:
        """Pass on what has text at once; what has none only if it still has none a moment later."""
        loop = asyncio.get_running_loop()
        async for event in inotify:
            if event.mask & Mask.Q_OVERFLOW:
                paths = self._present()
            else:
                paths = [event.path] if event.path is not None and self._is_ours(event.path) else []
            for path in paths:
                if _read(path):
                    touched.put_nowait(path)
                else:
                    loop.call_later(GONE_AFTER_SECONDS, touched.put_nowait, path)

    def _present(self) -> list[Path]:
        inside = {path for folder in self._folders for path in folder.iterdir() if self._is_ours(path)}
        return sorted(self._files | inside)

    def _is_ours(self, path: Path) -> bool:
        if path in self._files:
            return True
        return path.parent in self._folders and path.suffix in SUFFIXES and not path.name.startswith(".")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return ""
