"""What somebody claims in the state of the cluster, and proxies come to believe."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

from agent.kube import POD, StateDirectory
from agent.lab.session import until
from agent.wire import REDIRECTION_ANNOTATION
from tests.support.mesh import Mesh


@contextlib.contextmanager
def claims_to_be_enrolled(mesh: Mesh, pod: str) -> Iterator[None]:
    """The state says that a pod takes HBONE, although no mesh serves it."""
    state = StateDirectory(mesh.lab.folder / "state")
    namespace, _, name = pod.partition("/")

    def write(value: str | None) -> None:
        patch = {"metadata": {"annotations": {REDIRECTION_ANNOTATION: value}}}
        asyncio.run(state.patch(POD, namespace, name, patch))

    write("enabled")
    try:
        until("the proxy believes it", lambda: told_protocol(mesh, pod) == "HBONE")
        yield
    finally:
        write(None)
        until("the proxy believes it no more", lambda: told_protocol(mesh, pod) != "HBONE")


def told_protocol(mesh: Mesh, pod: str) -> str:
    namespace, _, name = pod.partition("/")
    workloads = json.loads(mesh.scrape("node-1", 15000, "/config_dump"))["workloads"]
    return next(str(w["protocol"]) for w in workloads if (w["namespace"], w["name"]) == (namespace, name))
