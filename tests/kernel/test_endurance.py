"""What only time and numbers show: descriptors, memory, certificates that are renewed or run out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.lab.session import until
from tests.support.mesh import ROOT, Mesh, load, opened, shop

NODES = ("node-1", "node-2")
WARM_UP, CONNECTIONS, AT_ONCE = 5_000, 20_000, 32
# Measured: 0.4 to 0.6 MB. A leak of 100 bytes a connection would be 2 MB.
MOST_GROWTH_KB = 2_000


def make_connections(mesh: Mesh, count: int) -> None:
    """All of them succeed."""
    services = (mesh.service(name)[0] for name in ("shop/web", "shop/redis"))
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.support.many"]
    done = mesh.lab.run("shop/frontend", *command, str(count), str(AT_ONCE), *services, timeout=100)
    assert done.stdout == "[]\n", done.stdout[:2000] + done.stderr


def descriptors(mesh: Mesh, node: str) -> int:
    return len(list(Path(f"/proc/{mesh.process(f'{node}-proxy')}/fd").iterdir()))


def resident_kb(mesh: Mesh, node: str) -> int:
    status = Path(f"/proc/{mesh.process(f'{node}-proxy')}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_thousands_of_connections_leave_nothing_behind_in_the_proxies(mesh: Mesh) -> None:
    make_connections(mesh, WARM_UP)
    before = {node: (descriptors(mesh, node), resident_kb(mesh, node)) for node in NODES}
    make_connections(mesh, CONNECTIONS)
    for node, (files, kilobytes) in before.items():
        until(f"{node}'s descriptors are back", lambda node=node, files=files: descriptors(mesh, node) <= files)
        assert resident_kb(mesh, node) - kilobytes < MOST_GROWTH_KB, node


def serials(mesh: Mesh, node: str) -> dict[str, str]:
    """The serial number of each identity's certificate."""
    found = json.loads(mesh.scrape(node, 15000, "/config_dump"))["certificates"]
    return {each["identity"]: each["certChain"][0]["serialNumber"] for each in found}


def are_all_renewed(mesh: Mesh, before: dict[str, dict[str, str]]) -> bool:
    return not any(before[node].items() & serials(mesh, node).items() for node in NODES)


CONVERSATION = (
    "import socket, sys\n"
    "s = socket.create_connection((sys.argv[1], 25), timeout=10); f = s.makefile('rwb')\n"
    "print(f.readline().decode(), end='', flush=True)\n"
    "for line in sys.stdin.buffer: f.write(line); f.flush(); print(f.readline().decode(), end='', flush=True)\n"
)


@contextlib.contextmanager
def conversation(mesh: Mesh) -> Iterator[Callable[[str], str]]:
    """One connection from the frontend to the greeter; says a line on it and returns the answer."""
    with mesh.lab.started("shop/frontend", "python3", "-c", CONVERSATION, mesh.service("shop/greeter")[0]) as talk:
        assert talk.stdin and talk.stdout
        assert talk.stdout.readline().startswith("220 ")

        def say(line: str) -> str:
            assert talk.stdin and talk.stdout
            talk.stdin.write(line + "\n")
            talk.stdin.flush()
            return talk.stdout.readline().strip()

        yield say


def test_certificates_are_renewed_under_load_without_a_failed_connection() -> None:
    with shop("renew", env=("proxy:SECRET_TTL=40s",)) as mesh:
        with load(mesh, rate=100) as seen, conversation(mesh) as say:
            before = {node: serials(mesh, node) for node in NODES}
            until("every certificate is renewed", lambda: are_all_renewed(mesh, before), timeout=60)
            carried = opened(mesh)
            until("the mesh carries the load", lambda: opened(mesh) > carried + 100)
            assert say("still there") == "still there"
        assert seen.failures == ()
        assert seen.made > 1000


def test_certificates_that_run_out_refuse_and_heal_once_the_controller_is_back() -> None:
    with shop("expire", env=("proxy:SECRET_TTL=6s",)) as mesh:
        controller = mesh.process("controller")
        with conversation(mesh) as say:
            assert mesh.curl("http://web.shop/").returncode == 0
            os.kill(controller, signal.SIGSTOP)
            try:
                until("the shop refuses for it", lambda: is_refused(mesh, "sa/frontend expired at"))
                assert say("still there") == "still there"
            finally:
                os.kill(controller, signal.SIGCONT)
            until("the shop answers again", lambda: mesh.curl("http://web.shop/").returncode == 0)


def is_refused(mesh: Mesh, reason: str) -> bool:
    """Whether a new connection fails, and the access log of node 1 has had the reason."""
    if mesh.curl("http://web.shop/").returncode not in (7, 52, 56):
        return False
    return any("\taccess\t" in line and reason in line for line in mesh.lab.log("node-1-proxy").splitlines())
