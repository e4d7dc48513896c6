"""The edge to the node's CNI folders: our plugin's program and its place in the configuration.

Every write is a new file renamed into place, so a runtime reads the old text or the new one.
The folders are watched: whoever writes the network's configuration anew, or removes our
program, finds both as they have to be a moment later. A file that cannot be understood is left
alone, told once, and counted; the next one is taken, as runtimes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncinotify import Inotify, Mask

from agent.errors import InvalidObjectError
from agent.metrics import NodeMetrics
from agent.node import cni_config
from agent.node.cni_config import PLUGIN, SAVED_SUFFIX, Restore, Write

logger = logging.getLogger(__name__)

# Between two passes: another program that also rewrites the file at once is not fought at full speed.
SETTLE_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 5.0
_CHANGES: Final = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things are; `file` is the only configuration to take, or empty for the first that can be used.

    is_chained: false: the configurations are somebody else's to edit.
    """

    configurations: Path
    programs: Path
    source: Path  # our program, as it was installed with the agent
    file: str = ""
    is_chained: bool = True


@dataclass(slots=True)
class Report:
    """How the last pass found things: the file whose chain has the plugin, or empty; and what is wrong, by file."""

    file: str = ""
    problems: dict[str, str] = field(default_factory=dict)


class Installation:
    """Our plugin on this node. `own`: its entry in the configuration."""

    def __init__(self, folders: Folders, own: Mapping[str, Any], metrics: NodeMetrics) -> None:
        self._folders = folders
        self._own = own
        self._metrics = metrics
        self.report = Report()
        self._is_bare = False  # nobody has put a configuration there

    async def keep(self) -> None:
        """Install, and again whenever somebody changes it; for ever. What is installed stays at the end."""
        while True:
            try:
                await self._follow()
            except OSError as exc:
                place = str(exc.filename or PLUGIN)
                advice = "CNI_NET_DIR and CNI_BIN_DIR must be the node's folders, mounted writable"
                self._note(Report(problems={place: f"{place}: {exc.strerror or exc}; {advice}"}))
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        folders = self._folders
        with Inotify() as inotify:
            # Watches come before the first look, so that nothing falls between the two.
            for folder in (folders.configurations, folders.programs):
                folder.mkdir(parents=True, exist_ok=True)
                inotify.add_watch(folder, _CHANGES)
            self.bring()
            async for event in inotify:
                if event.mask & (Mask.IGNORED | Mask.DELETE_SELF | Mask.MOVE_SELF):
                    return  # the folder has gone: begin anew
                if event.name is not None and str(event.name).startswith("."):
                    continue  # on its way into place, by us or others
                await asyncio.sleep(SETTLE_SECONDS)
                self.bring()

    def bring(self) -> None:
        """One pass. The program comes first: a configuration that names a missing one starts no pod at all."""
        _install_program(self._folders.source, self._folders.programs / PLUGIN)
        report = Report()
        if not self._folders.is_chained:
            return
        for name in cni_config.candidates(_names(self._folders.configurations), self._folders.file):
            try:
                self._chain(name)
            except InvalidObjectError as exc:
                report.problems[name] = str(exc)
                continue
            report.file = name
            break
        self._note(report)

    def _chain(self, name: str) -> None:
        path = self._folders.configurations / name
        step = cni_config.insertion(name, _text(path), self._own)
        if step is None:
            return
        _write(path.with_name(step.name), step.text, like=path)
        if step.saves:
            # Until here the file itself is still the first, and after it the chain is: there is always one.
            path.rename(path.with_name(f"{step.saves}{SAVED_SUFFIX}"))
            _sync(path.parent)
        self._metrics.cni_changes.inc()
        logger.info("CNI plugin chained", extra={"file": str(path.with_name(step.name))})

    def remove(self) -> None:
        """Take the plugin out of every configuration, then its program away; twice is fine.

        The program stays while a configuration names it that is not ours to edit: without it no pod could start.
        """
        folder = self._folders.configurations
        names = _names(folder)
        for name in cni_config.candidates(names) if self._folders.is_chained else ():
            try:
                step = cni_config.removal(name, _text(folder / name), names)
            except InvalidObjectError as exc:
                logger.warning("CNI configuration is left alone", extra={"reason": exc})
                continue
            if step is not None:
                _undo(folder, step)
                logger.info("CNI plugin taken out", extra={"file": str(folder / name)})
        left = [
            name for name in cni_config.candidates(_names(folder)) if PLUGIN.encode() in (folder / name).read_bytes()
        ]
        if left:
            logger.warning("CNI plugin stays, configurations name it", extra={"files": ", ".join(left)})
        else:
            (self._folders.programs / PLUGIN).unlink(missing_ok=True)

    def _note(self, report: Report) -> None:
        for name, problem in report.problems.items():
            if self.report.problems.get(name) != problem:
                logger.error("CNI configuration cannot be used, it is left alone", extra={"reason": problem})
        if not report.file and not report.problems and not self._is_bare:
            logger.warning(
                "no CNI configuration yet: no pod's start is held",
                extra={"folder": str(self._folders.configurations), "accepted": "the node's folder, mounted here"},
            )
        self._is_bare = not report.file and not report.problems
        self.report = report
        self._metrics.cni_chained.set(bool(report.file))
        self._metrics.cni_problems.set(len(report.problems))


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [path.name for path in folder.iterdir() if path.is_file()]
    return []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as exc:
        raise InvalidObjectError(f"{path.name}: not UTF-8: {exc}") from exc


def _undo(folder: Path, step: Write | Restore) -> None:
    match step:
        case Write(name, text):
            _write(folder / name, text, like=folder / name)
        case Restore(name, chain):
            (folder / f"{name}{SAVED_SUFFIX}").rename(folder / name)
            (folder / chain).unlink()
            _sync(folder)


def _install_program(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes() and os.access(target, os.X_OK):
        return
    # A name of its own beside the target; a runtime may be running the old one meanwhile.
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    temporary.chmod(0o755)
    _put(temporary, target)


def _write(path: Path, text: str, like: Path) -> None:
    """Replace a file whole, with the mode of `like`; on disk when it returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # no runtime reads a file of that suffix
    temporary.write_text(text)
    temporary.chmod(like.stat().st_mode & 0o777)
    _put(temporary, path)


def _put(temporary: Path, path: Path) -> None:
    _sync(temporary)
    temporary.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
