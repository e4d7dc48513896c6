"""`weft describe`: what applies to a pod or a Service, from manifests, a state directory, a lab or a cluster."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from agent.cli import places, portrait, reach
from agent.cli.description import Description, Objects
from agent.cli.inquiry import Inquiry
from agent.cli.material import gather
from agent.cli.protection import Enrolment
from agent.errors import ConfigError, WeftError
from agent.lab.layout import RUN

NOT_FOUND_EXIT = 1
_SERVICE = ("svc", "service", "services")
_POD = ("pod", "pods", "po")


@click.command()
@click.option("-f", "--filename", "first", multiple=True, type=click.Path(path_type=Path), help="- is standard input.")
@click.option("-R", "--recursive", "is_recursive", is_flag=True, help="Go into the folders of a folder.")
@click.option("--state-directory", type=click.Path(path_type=Path), help="The objects of a state directory.")
@click.option("--lab", "lab_name", metavar="NAME", help="Those of a lab; without any source, of the one that runs.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Those of its cluster.")
@click.option("--context", metavar="NAME", help="The kubeconfig's context, by default its current one.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.argument("target")
def describe(
    first: tuple[Path, ...],
    is_recursive: bool,
    state_directory: Path | None,
    lab_name: str | None,
    kubeconfig: Path | None,
    context: str | None,
    output: str,
    target: str,
) -> None:
    """Say what applies to a pod or a Service, and why.

    Written NAMESPACE/POD, or svc/NAMESPACE/NAME.

    A Deployment or its like stands for its pods. Files that are given beside a lab, a state
    directory or a cluster add to its objects, such as the routes that a lab does not keep.

    Exit status: 0 described, 1 there is no such pod or Service, 64 wrong usage.
    """
    kind, name = _target(target)
    if len([source for source in (state_directory, lab_name, kubeconfig) if source is not None]) > 1:
        raise ConfigError("give one of --state-directory, --lab and --kubeconfig")
    try:
        lab = _lab(lab_name, first, state_directory, kubeconfig)
        material = gather(
            first,
            is_recursive=is_recursive,
            state_directory=RUN / lab.name / "state" if lab else state_directory,
            kubeconfig=kubeconfig,
            context=context,
            mesh_config=None,
        )
        objects = Objects(material)
        found: Description = objects.service(name) if kind == "Service" else objects.pod(name)
    except ConfigError:
        raise
    except WeftError as exc:
        click.echo(f"weft: {exc}", err=True)
        sys.exit(NOT_FOUND_EXIT)
    if (mesh := lab or _installed(kubeconfig, context)) is not None:
        found = _as_agents_say(found, Inquiry(mesh))
    if output == "json":
        click.echo(json.dumps(portrait.as_json(found), indent=2))
    else:
        click.echo("\n".join(portrait.lines(found)))


def _target(text: str) -> tuple[str, places.PodName]:
    """Which kind, and which one; ConfigError for another form."""
    kind, slash, rest = text.partition("/")
    if "/" not in rest:
        kind, rest = "pod", text
    if kind not in (*_SERVICE, *_POD) or not slash:
        raise ConfigError(f"{text!r}: accepted are NAMESPACE/POD and svc/NAMESPACE/NAME")
    try:
        name = places.pod_name(rest)
    except ConfigError as exc:
        raise ConfigError(f"{text!r}: accepted are NAMESPACE/POD and svc/NAMESPACE/NAME") from exc
    return "Service" if kind in _SERVICE else "Pod", name


def _lab(name: str | None, *others: object) -> reach.Lab | None:
    """The lab that is asked about, None if it is other objects."""
    return reach.running_lab(name) if name is not None or not any(others) else None


def _installed(kubeconfig: Path | None, context: str | None) -> reach.Mesh | None:
    """The mesh of the cluster that is asked about, None without one, or for who may not reach into it."""
    if kubeconfig is None:
        return None
    from agent.cli.cluster_reach import installed_mesh  # its client takes a while to load

    try:
        return installed_mesh(kubeconfig, context)
    except WeftError as exc:
        click.echo(f"weft: node agents are not asked: {exc}", err=True)
        return None


def _as_agents_say(found: Description, inquiry: Inquiry) -> Description:
    """With the state of each pod, and the reason, as its node's agent tells them; without one, as it is stored."""
    members = []
    for member in found.pods:
        row = inquiry.pod_row(places.PodName(member.pod.namespace, member.pod.name))
        enrolment = Enrolment(row["state"], row["reason"] or member.enrolment.reason) if row else member.enrolment
        members.append(replace(member, enrolment=enrolment))
    return replace(found, pods=tuple(members))
