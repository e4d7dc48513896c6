"""`weft analyze`: what is wrong across manifests that may each be right."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import yaml

from agent.analysis.analyzers import ANALYZERS
from agent.analysis.corpus import Finding
from agent.analysis.messages import MESSAGES, Level, Message
from agent.analysis.run import Material, Suppression
from agent.analysis.run import analyze as analyzed
from agent.cli.files import texts
from agent.documents import Lines
from agent.errors import ConfigError, NotFoundError
from agent.kube import KINDS, Kind, Object, StateDirectory
from agent.manifests import Key, Written

FINDINGS_EXIT = 79  # istioctl's
_LEVELS = click.Choice([str(level) for level in Level], case_sensitive=False)


@click.command()
@click.option("-f", "--filename", "first", multiple=True, type=click.Path(path_type=Path), help="- is standard input.")
@click.option("-R", "--recursive", "is_recursive", is_flag=True, help="Go into the folders of a folder.")
@click.option("--state-directory", type=click.Path(path_type=Path), help="Analyse also the objects of a lab's state.")
@click.option("-n", "--namespace", help="Only what is found of this namespace's objects.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace's, which is the default.")
@click.option("-S", "--suppress", multiple=True, metavar="CODE=KIND NAME.NAMESPACE", help="* stands for any.")
@click.option("--failure-threshold", type=_LEVELS, default="Error", show_default=True, help="From which level to fail.")
@click.option("--output-threshold", type=_LEVELS, default="Info", show_default=True, help="From which level to print.")
@click.option("-o", "--output", type=click.Choice(["log", "json", "yaml"]), default="log", show_default=True)
@click.option("--analyzer", "names", multiple=True, metavar="NAME", help="Run only these.")
@click.option("-L", "--list-analyzers", is_flag=True, help="List the analyzers and exit.")
@click.option("--explain", "code", metavar="CODE", help="Say what a code means and what to do; `all` lists the codes.")
@click.argument("more", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
def analyze(
    first: tuple[Path, ...],
    is_recursive: bool,
    state_directory: Path | None,
    namespace: str | None,
    all_namespaces: bool,
    suppress: tuple[str, ...],
    failure_threshold: str,
    output_threshold: str,
    output: str,
    names: tuple[str, ...],
    list_analyzers: bool,
    code: str | None,
    more: tuple[Path, ...],
) -> None:
    """Say what is wrong with the objects of files, folders or a state directory, also between them.

    Exit status: 0 nothing of the failure threshold's level, 79 something is, 1 a file cannot be
    read, 64 wrong usage.
    """
    if list_analyzers:
        click.echo("\n".join(ANALYZERS))
        return
    if code:
        click.echo(explanation(code))
        return
    if namespace and all_namespaces:
        raise click.UsageError("give one of --namespace and --all-namespaces")
    unknown = sorted(set(names) - set(ANALYZERS))
    if unknown:
        raise click.UsageError(f"--analyzer {unknown[0]}: accepted are {', '.join(ANALYZERS)}")
    material = _material([*first, *more], is_recursive, state_directory)
    suppressions = [Suppression.parse(text) for text in suppress]
    found = [
        finding
        for finding in analyzed(material, names=names, suppressions=suppressions)
        if not namespace or finding.key is None or finding.key.namespace in ("", namespace)
    ]
    shown = [finding for finding in found if finding.message.level >= _level(output_threshold)]
    click.echo(_FORMS[output](shown, len(material.entries)))
    sys.exit(FINDINGS_EXIT if any(each.message.level >= _level(failure_threshold) for each in found) else 0)


def explanation(code: str) -> str:
    """The section of documentation of a code; raises ConfigError for one that does not exist."""
    if code == "all":
        return "\n".join(f"{each.code}  {each.level!s:8}{each.name}" for each in MESSAGES.values())
    found = MESSAGES.get(code.upper())
    if found is None:
        raise ConfigError(f"--explain {code}: there is no such code; `weft analyze --explain all` lists them")
    return section(found)


def section(message: Message) -> str:
    return f"{message.code} {message.name} ({message.level})\n\n    {message.text}\n\n{message.explanation.rstrip()}"


def _material(paths: Sequence[Path], is_recursive: bool, state_directory: Path | None) -> Material:
    if not paths and state_directory is None:
        raise click.UsageError("give files or folders of manifests, - for standard input, or --state-directory")
    material = Material()
    if state_directory is not None:
        _add_state(material, state_directory)
    for name, text in texts(paths, is_recursive=is_recursive):
        material.add_text(text, name)
    return material


def _add_state(material: Material, folder: Path) -> None:
    """Objects as they are stored; manifests that are given besides take the place of their namesakes."""
    if not folder.is_dir():
        raise NotFoundError(f"--state-directory {folder}: there is no such folder")
    for kind, found in asyncio.run(_stored(StateDirectory(folder))):
        metadata = found["metadata"]
        key = Key(kind.name, metadata.get("namespace", ""), metadata["name"])
        material.add(Written(found, "", Lines(0), key))


async def _stored(state: StateDirectory) -> list[tuple[Kind, Object]]:
    return [(kind, found) for kind in KINDS for found in await state.list(kind)]


def _level(name: str) -> Level:
    return Level[name.upper()]


def _as_log(found: Iterable[Finding], objects: int) -> str:
    lines = [f"{each.message.level} [{each.code}] ({_origin(each)}) {each.text}" for each in found]
    return "\n".join(lines) or f"✔ No issues found in {objects} objects."


def _rows(found: Iterable[Finding]) -> list[dict[str, str]]:
    return [
        {
            "code": each.code,
            "level": str(each.message.level),
            "origin": str(each.key or ""),
            "reference": f"{each.file}:{each.line}" if each.file else "",
            "message": each.text,
        }
        for each in found
    ]


def _origin(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.file else ""
    return " ".join(part for part in (str(finding.key or ""), place) if part)


def _as_json(found: Iterable[Finding], objects: int) -> str:
    return json.dumps(_rows(found), indent=2)


def _as_yaml(found: Iterable[Finding], objects: int) -> str:
    written: str = yaml.safe_dump(_rows(found), sort_keys=False, allow_unicode=True)
    return written.rstrip()


_FORMS = {"log": _as_log, "json": _as_json, "yaml": _as_yaml}
