"""`weft validate`: are these manifests right, each by itself? The answer that admission would give.

Objects that the mesh has nothing to do with are counted and passed over, so that a release's
manifests can be checked as they are.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from agent import manifests
from agent.api.validation import validate as checked
from agent.cli import sarif
from agent.cli.files import texts
from agent.documents import UnreadableError
from agent.errors import Fault

INVALID_EXIT = 65  # EX_DATAERR of sysexits.h
_NAMELESS = "an object needs apiVersion, kind, and metadata.name or metadata.generateName"


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


@dataclass(slots=True)
class Report:
    """What a file says of itself: its remarks, and how many objects of which kinds nobody looked at."""

    file: str
    remarks: list[Remark] = field(default_factory=list)
    objects: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def has_errors(self) -> bool:
        return any(remark.severity == "error" for remark in self.remarks)


@click.command()
@click.option("-f", "--filename", "first", multiple=True, type=click.Path(path_type=Path), help="- is standard input.")
@click.option("-R", "--recursive", "is_recursive", is_flag=True, help="Go into the folders of a folder.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
def validate(first: tuple[Path, ...], is_recursive: bool, output: str, more: tuple[Path, ...]) -> None:
    """Check manifests, each object by itself.

    Exit status: 0 all are valid, 65 some are not, 1 a file cannot be read, 64 wrong usage.
    """
    paths = [*first, *more]
    if not paths:
        raise click.UsageError("give files or folders of manifests, or - for standard input")
    reports = [_report(name, text) for name, text in texts(paths, is_recursive=is_recursive)]
    remarks = [remark for report in reports for remark in report.remarks]
    if output == "json":
        click.echo(json.dumps([_as_json(remark) for remark in remarks], indent=2))
    elif output == "sarif":
        click.echo(json.dumps(sarif.log(_results(remarks)), indent=2))
    else:
        for report in reports:
            _print(report)
    _tell_what_was_not_checked(reports)
    sys.exit(INVALID_EXIT if any(report.has_errors for report in reports) else 0)


def _report(file: str, text: str | UnreadableError) -> Report:
    report = Report(file)
    try:
        if isinstance(text, UnreadableError):
            raise text
        for one in manifests.written(text, file):
            report.objects += 1
            _add(report, one)
    except UnreadableError as exc:
        report.remarks.append(Remark(file, exc.line, "error", "", "", exc.reason))
    return report


def _add(report: Report, one: manifests.Written) -> None:
    label = _label(one)
    if label is None or not isinstance(one.value, dict):
        report.remarks.append(Remark(one.file, one.lines.line, "error", "", "", _NAMELESS))
        return
    answer = checked(one.value, one.file)
    if not answer.is_judged:
        report.passed_over[f"{one.value['apiVersion']} {one.value['kind']}"] += 1
    for severity, faults in (("error", answer.errors), ("warning", answer.warnings)):
        report.remarks += [_remark(one, label, severity, fault) for fault in faults]


def _label(one: manifests.Written) -> str | None:
    """KIND NAMESPACE/NAME, or with PREFIX* for a name that Kubernetes makes up; None if it cannot be named."""
    if one.key is not None:
        return str(one.key)
    metadata = one.value.get("metadata") if isinstance(one.value, dict) else None
    if not isinstance(one.value, dict) or not isinstance(metadata, Mapping):
        return None
    kind, prefix, namespace = one.value.get("kind"), metadata.get("generateName"), metadata.get("namespace") or ""
    if not all(isinstance(part, str) and part for part in (one.value.get("apiVersion"), kind, prefix)):
        return None
    return f"{kind} {f'{namespace}/{prefix}*'.removeprefix('/')}"


def _remark(one: manifests.Written, label: str, severity: str, fault: Fault) -> Remark:
    line = one.lines.find(fault.path)
    return Remark(one.file, line, severity, _printable(label), _printable(fault.field), _printable(fault.text))


def _printable(text: str) -> str:
    """JSON's escapes can name halves of characters, which no output can show."""
    return text.encode(errors="backslashreplace").decode()


def _print(report: Report) -> None:
    for remark in report.remarks:
        click.echo(str(remark))
    if not report.has_errors:
        click.echo(f'"{report.file}" is valid')


def _tell_what_was_not_checked(reports: Iterable[Report]) -> None:
    """On standard error, so that the output is the same for programs."""
    passed_over: Counter[str] = Counter()
    for report in reports:
        passed_over += report.passed_over
        if not report.objects and not report.has_errors:
            click.echo(f"weft: {report.file} holds no object", err=True)
    if passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
        click.echo(f"weft: not checked, of kinds that the mesh does not read: {kinds}", err=True)


def _as_json(remark: Remark) -> dict[str, object]:
    return {name: getattr(remark, name) for name in Remark.__slots__}


def _results(remarks: Iterable[Remark]) -> Iterator[sarif.Result]:
    for remark in remarks:
        where = ": ".join(part for part in (remark.object, remark.field, remark.text) if part)
        yield sarif.Result("invalid-object", remark.severity, where, remark.file, remark.line)
