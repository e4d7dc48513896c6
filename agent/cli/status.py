"""`weft status`: how the mesh is doing, asked of each of its processes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from rich.console import RenderableType

from agent.cli import health, reach
from agent.cli.choice import Choice, mesh_options
from agent.cli.tables import MOST_ROWS, console, span, table
from agent.errors import WeftError
from agent.wire import ADMIN_PORT, DEBUG_PORT

Json = dict[str, Any]
_EXITS = {health.WELL: 0, health.PROBLEMS: 1, health.UNKNOWN: 2}
_POLICY_COLUMNS = ("NAMESPACE", "POLICY", "KIND", "ACTION", "SCOPE", "ENFORCED AS WRITTEN", "PROXIES")
_AT_A_TIME = 16  # processes asked


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("-n", "--namespace", help="Only pods, certificates and policies of this namespace.")
@click.option("-A", "--all", "is_whole", is_flag=True, help=f"Every row; without it at most {MOST_ROWS} a table.")
@mesh_options
def status(choice: Choice, output: str, namespace: str | None, is_whole: bool) -> None:
    """Show how the mesh is doing.

    Nodes, proxies, certificates, policies, and what is wrong.

    Exit status: 0 all is well, 1 there are problems, 2 some process could not be asked (what the
    others say is printed), 64 wrong usage.
    """
    found = health.document(gather(choice.mesh_or_exit(_EXITS[health.UNKNOWN])), time.time())
    shown = of_namespace(found, namespace) if namespace else found
    if output == "json":
        click.echo(json.dumps(shown, indent=2))
    else:
        screen = console()
        for part in tables(shown, None if is_whole else MOST_ROWS):
            screen.print(part)
            screen.print()
    sys.exit(_EXITS[found["state"]])


def gather(mesh: reach.Mesh) -> health.Answers:
    """Ask every process at once; who does not answer is noted with the reason."""
    away: list[str] = []

    def attempt(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except WeftError as exc:
            away.append(str(exc))
            return None

    def ask(process: reach.Process, port: int, path: str) -> Callable[[], Any]:
        return lambda: reach.ask(mesh, process, port, path)

    controllers = mesh.controllers or (reach.CONTROLLER,)
    questions = [
        mesh.problems,
        *(ask(each, DEBUG_PORT, "/debug/syncz") for each in controllers),
        *(ask(each, DEBUG_PORT, "/debug/policies") for each in controllers),
        *(ask(reach.agent_of(node), DEBUG_PORT, "/debug/pods") for node in mesh.nodes),
        *(ask(reach.proxy_of(node), ADMIN_PORT, "/status") for node in mesh.nodes),
    ]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        written, *rest = pool.map(attempt, questions)
    syncz, policies, rest = (
        rest[: len(controllers)],
        rest[len(controllers) :][: len(controllers)],
        rest[2 * len(controllers) :],
    )
    agents, proxies = rest[: len(mesh.nodes)], rest[len(mesh.nodes) :]
    return health.Answers(
        nodes=mesh.nodes,
        written=written or (),
        syncz=health.of_all([each for each in syncz if each is not None]),
        policies=next((each for each in policies if each is not None), ()),
        agents={node: found for node, found in zip(mesh.nodes, agents, strict=True) if found is not None},
        proxies={node: found for node, found in zip(mesh.nodes, proxies, strict=True) if found is not None},
        away=sorted(set(away)),
    )


def of_namespace(found: Json, namespace: str) -> Json:
    """The document with only this namespace's pods, certificates and policies."""

    def is_of(identity: str) -> bool:
        return f"/ns/{namespace}/" in identity

    return {
        **found,
        "pods": [each for each in found["pods"] if each["namespace"] == namespace],
        "certificates": [each for each in found["certificates"] if is_of(each["identity"])],
        "policies": [each for each in found["policies"] if each["namespace"] == namespace],
    }


def tables(found: Json, most: int | None) -> Iterator[RenderableType]:
    """For people: what is wrong comes last, where the eye is."""
    controller = found["controller"]
    yield f"Controller: {_up(controller['up'])}" + ("" if controller["synced"] is not False else ", reads the cluster")
    yield table("Nodes", ("NODE", "AGENT", "PROXY", "ENROLLED", "PENDING", "OUTSIDE"), map(_node, found["nodes"]), most)
    columns = ("NODE", "VERSION", "UP FOR", "CONTROLLER", "WORKLOADS", "POLICIES")
    proxies = sorted(found["proxies"], key=lambda each: each["connected"])
    yield table("Node proxies", columns, map(_proxy, proxies), most)
    outside = sorted((each for each in found["pods"] if each["state"] != "enrolled"), key=lambda each: each["state"])
    if outside:
        yield table("Pods not enrolled", ("POD", "NODE", "STATE", "WHY"), map(_pod, outside), most)
    by_life = sorted(found["certificates"], key=lambda each: each["seconds_left"] or 0)
    yield table("Certificates", ("IDENTITY", "NODE", "STATE", "LIFE LEFT"), map(_certificate, by_life), most)
    by_trouble = sorted(found["policies"], key=lambda each: each["enforced"] and not _stragglers(each))
    if by_trouble:
        yield table("Policies", _POLICY_COLUMNS, map(_policy, by_trouble), most)
    yield from _conclusion(found, most)


def _conclusion(found: Json, most: int | None) -> Iterator[RenderableType]:
    if found["notes"]:
        yield table("To know", ("WHAT",), ([text] for text in found["notes"]), most)
    if found["unreachable"]:
        yield table("Cannot be asked", ("WHO AND WHY",), ([text] for text in found["unreachable"]), most)
    if found["problems"]:
        rows = ([each["kind"], each["text"]] for each in found["problems"])
        yield table("Problems", ("ABOUT", "WHAT"), rows, most)
    words = {
        health.WELL: "All is well.",
        health.PROBLEMS: f"Problems: {len(found['problems'])}.",
        health.UNKNOWN: "Not all of the mesh could be asked.",
    }
    yield words[found["state"]]


def _up(is_up: bool) -> str:
    return "up" if is_up else "DOWN"


def _node(node: Json) -> list[str]:
    counts = [str(node["pods"][state]) if node["agent_up"] else "?" for state in ("enrolled", "pending", "outside")]
    return [node["node"], _up(node["agent_up"]), _up(node["proxy_up"]), *counts]


def _proxy(proxy: Json) -> list[str]:
    syncs = [_sync(proxy["discovery"].get(name)) for name in ("workloads", "policies")]
    connected = "connected" if proxy["connected"] else "NOT CONNECTED"
    return [proxy["node"], proxy["version"], span(proxy["uptime_seconds"]), connected, *syncs]


def _sync(sync: Json | None) -> str:
    if sync is None:
        return "?"
    past = f" ({sync['rejections']} rejected)" if sync["rejections"] else ""
    return (f"{sync['pending']} pending" if sync["pending"] else sync["state"]) + past


def _pod(pod: Json) -> list[str]:
    sidecar = "; asks for a sidecar" if pod["sidecar"] else ""
    return [f"{pod['namespace']}/{pod['name']}", pod["node"], pod["state"], pod["reason"] + sidecar]


def _certificate(found: Json) -> list[str]:
    state = f"{found['state']}: {found['error']}" if found["error"] else found["state"]
    left = "-" if found["seconds_left"] is None else span(found["seconds_left"])
    return [found["identity"], found["node"], state, left]


def _policy(policy: Json) -> list[str]:
    enforced = "yes" if policy["enforced"] else "no: " + "; ".join(policy["shortfalls"])
    if policy["dry_run"]:
        enforced = "no: dry run"
    stragglers = _stragglers(policy)
    proxies = "in force" if not stragglers else f"not yet on {', '.join(stragglers)}"
    in_proxies = proxies if policy["version"] is not None else "not sent"
    names = [policy["namespace"], policy["name"], policy["kind"], policy["action"], policy["scope"]]
    return [*names, enforced, in_proxies]


def _stragglers(policy: Json) -> list[str]:
    return [*policy["missing_on"], *policy["differs_on"]]
