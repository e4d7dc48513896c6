"""Which processes of the mesh do not say yet that they are ready."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterable

from agent.errors import NotFoundError
from agent.lab import namespaces
from agent.lab.layout import CONTROL, Layout
from agent.wire import DEBUG_PORT, NODE_HEALTH_PORT, READINESS_PORT

_ANSWER_SECONDS = 2.0


def unready(layout: Layout, nodes: Iterable[str]) -> list[str]:
    """One line for each process that is not ready, with what it says itself."""
    asked = [("controller", CONTROL, DEBUG_PORT, "/readyz")]
    for node in nodes:
        asked.append((f"{node}-node", node, NODE_HEALTH_PORT, "/readyz"))
        asked.append((f"{node}-proxy", node, READINESS_PORT, "/healthz/ready"))
    return [
        f"process {name} is not ready ({reason})"
        for name, place, port, path in asked
        if (reason := _reason(layout.netns(place), f"http://127.0.0.1:{port}{path}"))
    ]


def _reason(netns: str, url: str) -> str:
    """Why it is not ready; empty when it is."""

    def ask() -> str:
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS):
                return ""
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.read().decode(errors="replace").strip()
        except OSError:
            return "it does not answer"

    try:
        return namespaces.inside(netns, ask)
    except NotFoundError as exc:
        return str(exc)
