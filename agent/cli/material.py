"""What a command analyses: a cluster, a lab's state, and files, which take the place of namesakes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from agent.analysis import live
from agent.analysis.run import Material
from agent.apiserver.connection import Connection
from agent.cli.files import texts
from agent.documents import Lines, UnreadableError
from agent.errors import NotFoundError
from agent.kube import KINDS, Kind, Object, StateDirectory
from agent.manifests import Key, Written


def gather(
    paths: Sequence[Path],
    *,
    is_recursive: bool,
    state_directory: Path | None,
    kubeconfig: Path | None,
    mesh_config: Path | None,
    context: str | None = None,
) -> Material:
    """Everything that is named; None stands for what is not asked for.

    Raises NotFoundError for what is not there, InvalidObjectError for settings of the mesh that
    cannot be used, and fails as Connection.request says. A kind that may not be read is told on
    standard error.
    """
    material = Material()
    if kubeconfig is not None:
        asyncio.run(_add_cluster(material, kubeconfig, context))
    if state_directory is not None:
        _add_state(material, state_directory)
    for name, text in texts(paths, is_recursive=is_recursive):
        material.add_text(text, name)
    if mesh_config is not None:
        for name, text in texts([mesh_config]):
            if isinstance(text, UnreadableError):
                raise text
            material.add_mesh_config(text, name)
    return material


async def _add_cluster(material: Material, kubeconfig: Path, context: str | None) -> None:
    connection = await Connection.open(kubeconfig, context)
    try:
        async for listed in live.everything(connection):
            if listed.refusal:
                material.unread.add(listed.model)
                click.echo(f"weft: not looked at: {listed.refusal}", err=True)
            for found in listed.objects:
                _add(material, listed.model.__name__, found)
    finally:
        await connection.close()


def _add_state(material: Material, folder: Path) -> None:
    if not folder.is_dir():
        raise NotFoundError(f"--state-directory {folder}: there is no such folder")
    for kind, found in asyncio.run(_stored(StateDirectory(folder))):
        _add(material, kind.name, found)


async def _stored(state: StateDirectory) -> list[tuple[Kind, Object]]:
    return [(kind, found) for kind in KINDS for found in await state.list(kind)]


def _add(material: Material, kind: str, found: Object) -> None:
    metadata = found["metadata"]
    key = Key(kind, metadata.get("namespace", ""), metadata["name"])
    material.add(Written(found, "", Lines(0), key))
