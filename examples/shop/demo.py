"""The demo: brings the shop up on two nodes, and shows step by step what the mesh does to it.

Every step states a claim and the evidence for it, taken from outside the mesh: a capture of the
wire between the nodes, what the programs themselves print, the kernel's lists. Exit status 0
only if every step held. An argument names the lab; without one it is `demo`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from policies import Policies
from rich.console import Console
from sight import Sight
from stage import Stage
from traffic import Traffic

from agent.errors import WeftError
from agent.lab.session import Session

SHOP = Path(__file__).resolve().parent

console = Console(highlight=False, soft_wrap=True)


def steps(stage: Stage) -> list[tuple[str, Callable[[], str]]]:
    """Each claim, and the step that gives the evidence for it."""
    traffic, policies, sight = Traffic(stage), Policies(stage), Sight(stage)
    return [
        ("Outside the mesh, what the pods say is readable on the wire", traffic.outside),
        ("The namespace gets its label: the running pods are captured, without a restart", traffic.enrol),
        ("On the wire: TLS 1.3 to port 15008, and not one byte of what the pods say", traffic.encrypted),
        ("Addresses are kept, and the access log names both identities", traffic.identities),
        ("A policy lets only the frontend in: another client is refused, and its open connection cut", policies.allow),
        ("Strict mutual TLS refuses a pod outside the mesh that was let in before", policies.strict),
        ("Prometheus scrapes each node: who talked to whom, and what was refused", sight.scraped),
        ("A page draws who talks to whom", sight.page),
        ("The node proxy is killed: connections are refused, nothing goes in the clear", traffic.killed),
        ("It returned, and traffic resumed by itself", traffic.resumed),
        ("The label is removed: plain networking again", traffic.withdraw),
        ("The lab is taken down and leaves nothing behind", traffic.down),
    ]


def walk(stage: Stage) -> bool:
    """Run every step, print it with its evidence; False as soon as one does not hold."""
    for number, (claim, step) in enumerate(steps(stage), start=1):
        try:
            evidence = step()
        except (WeftError, subprocess.TimeoutExpired) as exc:
            console.print(f"[bold red]{number} ✗ {claim}[/]\n    {exc}")
            return False
        console.print(f"[bold green]{number} ✓[/] [bold]{claim}[/]")
        for line in evidence.splitlines():
            console.print(f"    {line}")
    return True


def main() -> None:
    started = time.monotonic()
    lab = Session(sys.argv[1] if len(sys.argv) > 1 else "demo")
    with tempfile.TemporaryDirectory(prefix="weft-demo-") as folder:
        manifests = Path(folder) / "shop"
        shutil.copytree(SHOP, manifests, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        console.print(
            "Two nodes, an example shop (curl, nginx, redis, a server that speaks first), the mesh's processes …"
        )
        held = False
        try:
            lab.up(manifests)
            held = walk(Stage(lab, manifests))
        except WeftError as exc:
            console.print(f"[bold red]✗ the lab did not come up[/]\n    {exc}")
        finally:
            lab.down()
    if not held:
        sys.exit(1)
    console.print(f"\nAll steps held, in {time.monotonic() - started:.0f} s. Try next:")
    console.print("    .venv/bin/weft lab up -d examples/shop      the same shop, to play with (see README.md)")
    console.print("    docs/architecture.md                        the way of a connection, on one page")


if __name__ == "__main__":
    main()
