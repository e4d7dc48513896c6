"""A folder whose files change all at once, as Kubernetes' volumes do.

    token      -> ..data/token          what a container opens
    ..data     -> ..2026_01_31.4711     which files count now; renamed into place
    ..2026_01_31.4711/token             the files themselves

A reader sees all of the old files or all of the new ones, and whoever watches ..data hears of every change.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agent.lab.kubernetes.content import File

_DATA = "..data"


def write(folder: Path, files: Mapping[str, File], group: int | None) -> bool:
    """Make the folder hold exactly these files; whether anything was to be changed.

    group: who may read the files besides their owners, a pod's fsGroup.
    """
    data = folder / _DATA
    old = data.resolve() if data.is_symlink() else None
    if old is not None and _held(old) == {path: file.data for path, file in files.items()}:
        return False
    new = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    new.chmod(0o755)
    for path, file in files.items():
        _write(new / path, file, group)
    _point(data, Path(new.name))
    tops = {path.split("/", 1)[0] for path in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(Path(_DATA) / top)
    for link in folder.iterdir():
        if link.is_symlink() and link.name not in tops | {_DATA}:
            link.unlink()
    if old is not None:
        shutil.rmtree(old)
    return True


def _held(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _write(path: Path, file: File, group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A group that is to read them, as in Kubernetes whatever the mode says.
    mode = file.mode if group is None else file.mode | 0o440
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as target:
        target.write(file.data)
        os.fchown(descriptor, -1 if file.owner is None else file.owner, -1 if group is None else group)
        os.fchmod(descriptor, mode)


def _point(link: Path, target: Path) -> None:
    temporary = link.with_name("..data_tmp")
    temporary.symlink_to(target)
    temporary.rename(link)
