"""`weft validate`: are these manifests right, each by itself? The answer that admission would give."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from agent import manifests
from agent.api.validation import validate as checked
from agent.cli import sarif
from agent.cli.files import texts
from agent.documents import UnreadableError
from agent.errors import Fault

INVALID_EXIT = 65  # EX_DATAERR of sysexits.h


@dataclass(frozen=True, slots=True)
class Remark:
    """What is wrong at one place; `object` is empty for a text that is no object."""

    file: str
    line: int
    severity: str  # error or warning
    object: str
    field: str
    text: str

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.object, self.field) if part)
        return f"{self.file}:{self.line}: {self.severity}: {where + ': ' if where else ''}{self.text}"


@click.command()
@click.option("-f", "--filename", "first", multiple=True, type=click.Path(path_type=Path), help="- is standard input.")
@click.option("-R", "--recursive", "is_recursive", is_flag=True, help="Go into the folders of a folder.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
def validate(first: tuple[Path, ...], is_recursive: bool, output: str, more: tuple[Path, ...]) -> None:
    """Check the manifests in files and folders, each object by itself.

    Exit status: 0 all are valid, 65 some are not, 1 a file cannot be read, 64 wrong usage.
    """
    paths = [*first, *more]
    if not paths:
        raise click.UsageError("give files or folders of manifests, or - for standard input")
    files = {name: list(_remarks(name, text)) for name, text in texts(paths, is_recursive=is_recursive)}
    remarks = [remark for found in files.values() for remark in found]
    if output == "json":
        click.echo(json.dumps([_as_json(remark) for remark in remarks], indent=2))
    elif output == "sarif":
        click.echo(json.dumps(sarif.log(_results(remarks)), indent=2))
    else:
        for name, found in files.items():
            _print(name, found)
    sys.exit(INVALID_EXIT if any(remark.severity == "error" for remark in remarks) else 0)


def _remarks(file: str, text: str | UnreadableError) -> Iterator[Remark]:
    if isinstance(text, UnreadableError):
        yield Remark(file, text.line, "error", "", "", _without_place(text))
        return
    try:
        objects = manifests.written(text, file)
    except UnreadableError as exc:
        yield Remark(file, exc.line, "error", "", "", _without_place(exc))
        return
    for one in objects:
        yield from _of_object(one)


def _of_object(one: manifests.Written) -> Iterator[Remark]:
    if one.key is None or not isinstance(one.value, dict):
        yield Remark(one.file, one.lines.line, "error", "", "", "an object needs apiVersion, kind and metadata.name")
        return
    answer = checked(one.value, one.file)
    for severity, faults in (("error", answer.errors), ("warning", answer.warnings)):
        yield from (_remark(one, severity, fault) for fault in faults)


def _remark(one: manifests.Written, severity: str, fault: Fault) -> Remark:
    return Remark(one.file, one.lines.find(fault.path), severity, str(one.key), fault.field, fault.text)


def _without_place(exc: UnreadableError) -> str:
    """Its text begins with file and line, which a remark has of its own."""
    return str(exc).partition(": ")[2]


def _print(name: str, found: Iterable[Remark]) -> None:
    found = list(found)
    for remark in found:
        click.echo(str(remark))
    if not any(remark.severity == "error" for remark in found):
        click.echo(f'"{name}" is valid')


def _as_json(remark: Remark) -> dict[str, object]:
    return {name: getattr(remark, name) for name in Remark.__slots__}


def _results(remarks: Iterable[Remark]) -> Iterator[sarif.Result]:
    for remark in remarks:
        where = ": ".join(part for part in (remark.object, remark.field, remark.text) if part)
        yield sarif.Result("invalid-object", remark.severity, where, remark.file, remark.line)
