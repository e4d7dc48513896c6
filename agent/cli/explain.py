"""`weft explain`: would a connection be let through, by what, and what would change it."""

from __future__ import annotations

import json
import sys

import click

from agent.cli import narrative, places
from agent.cli.choice import Choice, mesh_options
from agent.cli.explanation import explain as find_out
from agent.cli.verdict import ALLOWED, REFUSED, UNKNOWN

_EXITS = {ALLOWED: 0, REFUSED: 1, UNKNOWN: 2}


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@mesh_options
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def explain(choice: Choice, output: str, source: str, target: str) -> None:
    """Say what becomes of a connection, and why.

    FROM is NAMESPACE/POD. TO is NAMESPACE/POD:PORT, or HOST:PORT with a Service's name, as the pod
    would write it, or an address. Nothing is connected: the node proxies of both ends are asked.

    Exit status: 0 allowed, 1 refused, 2 it cannot be told, 64 wrong usage.
    """
    asked = places.pod_name(source), places.target(target)
    mesh = choice.mesh_or_exit(_EXITS[UNKNOWN])
    answer = find_out(mesh, *asked)
    if output == "json":
        click.echo(json.dumps(narrative.as_json(answer), indent=2))
    else:
        click.echo("\n".join(narrative.lines(answer)))
    sys.exit(_EXITS[answer.verdict])
