"""`weft analyze`: what is wrong across manifests that may each be right."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import yaml

from agent.analysis.analyzers import ANALYZERS
from agent.analysis.corpus import Finding
from agent.analysis.messages import LEFT_OUT, MESSAGES, Level, Message
from agent.analysis.run import Suppression
from agent.analysis.run import analyze as analyzed
from agent.cli.material import gather
from agent.errors import ConfigError

FINDINGS_EXIT = 79  # istioctl's
_LEVELS = click.Choice([str(level) for level in Level], case_sensitive=False)


@click.command()
@click.option("-f", "--filename", "first", multiple=True, type=click.Path(path_type=Path), help="- is standard input.")
@click.option("-R", "--recursive", "is_recursive", is_flag=True, help="Go into the folders of a folder.")
@click.option("--state-directory", type=click.Path(path_type=Path), help="Analyse also the objects of a lab's state.")
@click.option("-k", "--use-kube", "is_live", is_flag=True, help="Analyse also the objects of the kubeconfig's cluster.")
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path.home() / ".kube" / "config",
    show_default="$KUBECONFIG or ~/.kube/config",
    help="For --use-kube.",
)
@click.option("--context", metavar="NAME", help="The kubeconfig's context, by default its current one.")
@click.option("--meshConfigFile", "mesh_config", type=click.Path(path_type=Path), help="The mesh's settings, as YAML.")
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
    is_live: bool,
    kubeconfig: Path,
    context: str | None,
    mesh_config: Path | None,
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
    """Say what is wrong with objects, also between them.

    They come from files, folders, a state directory or a cluster.

    Exit status: 0 nothing of the failure threshold's level, 79 something is, 1 a file cannot be
    read or the cluster does not answer, 64 wrong usage.
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
    paths = [*first, *more]
    if not paths and state_directory is None and not is_live:
        raise click.UsageError(
            "give files or folders of manifests, - for standard input, --use-kube or --state-directory"
        )
    material = gather(
        paths,
        is_recursive=is_recursive,
        state_directory=state_directory,
        kubeconfig=kubeconfig if is_live else None,
        context=context,
        mesh_config=mesh_config,
    )
    suppressions = [Suppression.parse(text) for text in suppress]
    found = [
        finding
        for finding in analyzed(material, names=names, suppressions=suppressions)
        if not namespace or _is_of(finding, namespace)
    ]
    shown = [finding for finding in found if finding.message.level >= _level(output_threshold)]
    click.echo(_FORMS[output](shown, len(material.entries)))
    sys.exit(FINDINGS_EXIT if any(each.message.level >= _level(failure_threshold) for each in found) else 0)


def explanation(code: str) -> str:
    """The section of documentation of a code, or why it is left out; ConfigError for one that does not exist."""
    if code == "all":
        return "\n".join(f"{each.code}  {each.level!s:8}{each.name}" for each in MESSAGES.values())
    found, left_out = MESSAGES.get(code.upper()), LEFT_OUT.get(code.upper())
    if left_out is not None:
        return f"{left_out.code} {left_out.name} is a message of istioctl that weft does not tell. {left_out.reason}"
    if found is None:
        raise ConfigError(f"--explain {code}: there is no such code; `weft analyze --explain all` lists them")
    return section(found)


def section(message: Message) -> str:
    return f"{message.code} {message.name} ({message.level})\n\n    {message.text}\n\n{message.explanation.rstrip()}"


def _is_of(finding: Finding, namespace: str) -> bool:
    """Whether it is of the namespace, or of none: of the whole cluster, or of a text that is no object."""
    if finding.key is None or finding.key.namespace:
        return finding.key is None or finding.key.namespace == namespace
    return finding.key.kind != "Namespace" or finding.key.name == namespace


def _level(name: str) -> Level:
    return Level[name.upper()]


def _as_log(found: Iterable[Finding], objects: int) -> str:
    lines = [f"{each.message.level} [{each.code}] ({_origin(each)}) {each.text}" for each in found]
    if not lines:
        return f"✔ No issues found in {objects} objects."
    return "\n".join([*lines, "", "What a code means and what to do: weft analyze --explain CODE"])


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
