"""Bundles: the folders in which containers are, from before their start until nothing of them is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConflictError
from agent.kube import Object
from agent.lab import cgroups
from agent.lab.oci import root


@dataclass(frozen=True, slots=True)
class Bundle:
    """The places of one container, below the folder that a lab has for containers."""

    folder: Path  # of all
    name: str

    @classmethod
    def of(cls, folder: Path, name: str) -> Bundle:
        """A container's of a lab's folder."""
        return cls(_below(folder), name)

    @property
    def path(self) -> Path:
        return self.folder / "bundles" / self.name

    @property
    def states(self) -> Path:
        """What runc remembers, of all containers."""
        return self.folder / "states"

    @property
    def specification(self) -> Path:
        return self.path / "config.json"

    @property
    def pid(self) -> Path:
        """Written by runc once the container runs."""
        return self.path / "pid"

    @property
    def errors(self) -> Path:
        """What runc has to say of itself, a JSON object per line."""
        return self.path / "runc.log"

    @property
    def cgroup(self) -> Path | None:
        """The container's cgroup2; None as long as nobody has said which."""
        if not self.specification.exists():
            return None
        path: str = json.loads(self.specification.read_text())["linux"]["cgroupsPath"]
        return cgroups.find_root(cgroups.MOUNTINFO.read_text()) / path.lstrip("/")


def claim(folder: Path, name: str) -> Bundle:
    """The bundle of a new container of a lab's folder; ConflictError when there is one of that name."""
    bundle = Bundle.of(folder, name)
    bundle.states.mkdir(parents=True, exist_ok=True)
    try:
        bundle.path.mkdir(parents=True)
    except FileExistsError as exc:
        raise ConflictError(f"container {name}: there is one of that name in {bundle.path.parent}") from exc
    return bundle


def fill(bundle: Bundle, specification: Object, shown: Iterable[Path] = ()) -> None:
    """Write the specification, renamed into place, and mount the root, see root.mount()."""
    new = bundle.specification.with_suffix(".new")
    new.write_text(json.dumps(specification))
    new.rename(bundle.specification)
    root.mount(bundle.path, shown)


def remove(bundle: Bundle) -> None:
    """Kill what runs in the container, and remove all of it but its log. Blocks; runs any number of times."""
    if cgroup := bundle.cgroup:
        cgroups.remove(cgroup)
    root.remove(bundle.path)
    shutil.rmtree(bundle.states / bundle.name, ignore_errors=True)
    shutil.rmtree(bundle.path, ignore_errors=True)


def remove_all(folder: Path) -> None:
    """Remove every container of a lab's folder, also after the process that started them has crashed. Blocks."""
    own = _below(folder)
    for path in (own / "bundles").glob("*"):
        remove(Bundle(own, path.name))
    shutil.rmtree(own, ignore_errors=True)


def _below(folder: Path) -> Path:
    return folder / "oci"
