"""`weft explain`: would a connection be let through, by what, and what would change it."""

from __future__ import annotations

import json
import sys

import click

from agent.cli import narrative, places, reach
from agent.cli.explanation import explain as find_out
from agent.cli.verdict import ALLOWED, REFUSED, UNKNOWN

_EXITS = {ALLOWED: 0, REFUSED: 1, UNKNOWN: 2}


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--lab", "lab_name", metavar="NAME", help="Which lab; by default the one that runs.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def explain(output: str, lab_name: str | None, source: str, target: str) -> None:
    """Say what becomes of a connection, and why.

    FROM is NAMESPACE/POD. TO is NAMESPACE/POD:PORT, or HOST:PORT with a Service's name, as the pod
    would write it, or an address. Nothing is connected: the node proxies of both ends are asked.

    Exit status: 0 allowed, 1 refused, 2 it cannot be told, 64 wrong usage.
    """
    asked = places.pod_name(source), places.target(target)
    mesh = reach.lab_or_exit(lab_name, _EXITS[UNKNOWN])
    answer = find_out(mesh, *asked)
    if output == "json":
        click.echo(json.dumps(narrative.as_json(answer), indent=2))
    else:
        click.echo("\n".join(narrative.lines(answer)))
    sys.exit(_EXITS[answer.verdict])
