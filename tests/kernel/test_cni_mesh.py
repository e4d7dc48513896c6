"""A lab whose node 1 starts its pods through a CNI chain with the plugin."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest

from agent.lab.capture import recorded
from agent.lab.layout import RUN
from agent.lab.session import until
from agent.wire import HBONE_PORT
from tests.support.mesh import Mesh, shop
from tests.support.runtime import PLUGIN

# It speaks as soon as it runs, as a program does that calls home, and until it is answered.
CALLER = (
    "import time, urllib.request\n"
    "while True:\n"
    "  try: print(urllib.request.urlopen('http://web.shop/', timeout=5).read().decode(), flush=True); break\n"
    "  except OSError as exc: print('failed', exc, flush=True); time.sleep(0.05)\n"
    "time.sleep(600)\n"
)


@pytest.fixture(scope="module")
def held() -> Iterator[Mesh]:
    folder = RUN / f"t{os.getpid()}c" / "node-1"
    settings = {
        "WEFT_CNI_SOCKET": folder / "cni.sock",
        "CNI_NET_DIR": folder / "cni" / "net.d",
        "CNI_BIN_DIR": folder / "cni" / "bin",
        "WEFT_CNI_PROGRAM": PLUGIN,
    }
    with shop("c", env=tuple(f"node-1-node:{key}={value}" for key, value in settings.items())) as mesh:
        chain = folder / "cni" / "net.d" / "10-weft-lab.conflist"
        until("node 1's chain has the plugin", lambda: "weft-cni" in chain.read_text())
        yield mesh


def a_caller(name: str) -> str:
    metadata = {"name": name, "namespace": "shop"}
    spec = {"nodeName": "node-1", "containers": [{"name": "main", "command": ["python3", "-c", CALLER]}]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def said(mesh: Mesh, name: str) -> str:
    """What the pod has printed."""
    with contextlib.suppress(FileNotFoundError):
        return (mesh.lab.folder / "logs" / "pods" / f"shop_{name}_main.log").read_text()
    return ""


def message(mesh: Mesh, name: str) -> str:
    """Why the pod does not start, as its status says."""
    with contextlib.suppress(FileNotFoundError):
        stored = json.loads((mesh.lab.folder / "state" / "pods" / f"shop_{name}.json").read_text())
        return (stored.get("status") or {}).get("message") or ""
    return ""


@contextlib.contextmanager
def applied(mesh: Mesh, name: str) -> Iterator[None]:
    mesh.write(f"{name}.json", a_caller(name))
    try:
        yield
    finally:
        (mesh.manifests / f"{name}.json").unlink()
        until(f"{name} is gone", lambda: f"shop/{name}" not in {pod["name"] for pod in mesh.lab.status()["pods"]})


def test_a_pod_that_speaks_at_once_sends_no_byte_in_the_clear(held: Mesh) -> None:
    with recorded(held.lab.netns("node-1")) as wire, applied(held, "early"):
        until("it is answered", lambda: "catalogue for" in said(held, "early"))
    assert not wire.carries("catalogue")
    assert not wire.carries("GET / HTTP")
    assert HBONE_PORT in wire.ports()


def test_while_the_agent_is_away_a_pod_waits_and_says_why(held: Mesh) -> None:
    with recorded(held.lab.netns("node-1")) as wire:
        os.kill(held.process("node-1-node"), signal.SIGKILL)
        with applied(held, "patient"):
            until("it says what it waits for", lambda: "no node agent listens there" in message(held, "patient"))
            assert said(held, "patient") == ""
            until("it is answered", lambda: "catalogue for" in said(held, "patient"), timeout=60)
    assert not wire.carries("catalogue")
