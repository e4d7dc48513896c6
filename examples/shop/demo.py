"""The demo: brings the shop up on two nodes, and shows step by step what the mesh does to it.

Every step states a claim and the evidence for it, taken from outside the mesh: a capture of the
wire between the nodes, what the programs themselves print, the kernel's lists. Exit status 0
only if every step held. An argument names the lab; without one it is `demo`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from agent.errors import UnavailableError, WeftError
from agent.lab.capture import Recording, recorded
from agent.lab.session import Session, leftovers, until
from agent.node import libbpf

SHOP = Path(__file__).resolve().parent
FRONTEND = "shop/frontend"
URL = "http://web.shop.svc.cluster.local"
AMBIENT = "istio.io/dataplane-mode: ambient"
OUTSIDE = "outside/client"
GREETER = "greeter.shop.svc.cluster.local"
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-frontend, namespace: shop}
spec:
  selector: {matchLabels: {app: greeter}}
  rules:
    - from:
        - source: {principals: [cluster.local/ns/shop/sa/frontend]}
"""
# Prints what the greeter says, then stays connected and says how that ended.
LISTENER = """
import socket, sys
with socket.create_connection((sys.argv[1], 25), timeout=20) as s:
    print(s.recv(100).decode().strip())
    try:
        s.recv(100)
    except ConnectionError:
        print("cut")
"""
SECRET = "the-customer-s-card-number"  # travels in a request header; must never be seen on the wire

console = Console(highlight=False, soft_wrap=True)


class Demo:
    """The walk through the proof. A step that does not hold raises UnavailableError."""

    def __init__(self, lab: Session, manifests: Path) -> None:
        self._lab = lab
        self._manifests = manifests

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("Outside the mesh, what the pods say is readable on the wire", self.outside),
            ("The namespace gets its label: the running pods are captured, without a restart", self.enrol),
            ("On the wire: TLS 1.3 to port 15008, and not one byte of what the pods say", self.encrypted),
            ("Addresses are kept, and the access log names both identities", self.identities),
            ("A policy lets only the frontend in: another client is refused, and its open connection cut", self.policy),
            ("The node proxy is killed: connections are refused, nothing goes in the clear", self.killed),
            ("It returned, and traffic resumed by itself", self.resumed),
            ("The label is removed: plain networking again", self.withdraw),
            ("The lab is taken down and leaves nothing behind", self.down),
        ]

    def outside(self) -> str:
        with self._wire() as wire:
            self._fetch()
        _hold(wire.carries(SECRET), "the request was not seen on the wire")
        return f"“{SECRET}” was read off the wire, in plain HTTP to port {wire.port_of(SECRET)}"

    def enrol(self) -> str:
        before = self._container_pids()
        started = time.monotonic()
        self._label(AMBIENT)
        until("every pod of the shop is enrolled", lambda: self._enrolled() == len(before))
        seconds = time.monotonic() - started
        _hold(self._container_pids() == before, "a pod was restarted")
        pids = ", ".join(f"{name.removeprefix('shop/')} {pid}" for name, pid in before.items())
        return f"{len(before)} pods captured in {seconds:.1f} s; every process still has its pid ({pids})"

    def encrypted(self) -> str:
        with self._wire() as wire:
            self._fetch()
            redis = self._lab.run(FRONTEND, "redis-cli", "-h", "redis.shop", "SET", "card", SECRET)
        _hold(redis.stdout.strip() == "OK", f"redis answered {redis.stdout!r} {redis.stderr!r}")
        _hold(not wire.carries(SECRET), "the request was readable on the wire")
        _hold(wire.ports() == {15008}, f"data went to ports {wire.ports()}")
        _hold(wire.tls13_port() == 15008, "no TLS 1.3 handshake with port 15008 was seen")
        return f"{wire.payload_bytes()} bytes to and from port 15008 only, TLS 1.3; “{SECRET}” is in none of them"

    def identities(self) -> str:
        done = self._fetch("-w", "%{local_ip} %{remote_ip}", "-o", "/dev/stdout")
        server_saw, client_said = done.splitlines()[0], done.splitlines()[-1]
        pod = next(pod for pod in self._lab.status()["pods"] if pod["name"] == FRONTEND)
        local, remote = client_said.split()
        _hold(local in pod["addresses"], f"the client sees itself as {local}, its pod has {pod['addresses']}")
        _hold(local in server_saw, f"the server saw {server_saw!r}, not {local}")
        want = re.compile(
            r'src\.identity="?(\S+?/sa/frontend)"?\s.*dst\.identity="?(\S+?/sa/backend)"?\s.*direction="inbound"'
        )
        found: list[re.Match[str]] = []

        def logged() -> bool:
            found.extend(want.finditer(self._lab.log("node-2-proxy")))
            return bool(found)

        until("the access log of node 2 names both identities", logged)
        source, destination = found[-1].groups()
        return (
            f"the server saw {local}, the pod's own; the client saw {remote}, the service's\n{source} → {destination}"
        )

    def policy(self) -> str:
        with self._lab.started(OUTSIDE, "python3", "-uc", LISTENER, GREETER) as client:
            greeting = client.stdout.readline().strip() if client.stdout else ""
            _hold(greeting.startswith("220"), f"the other client was greeted with {greeting!r}")
            started = time.monotonic()
            (self._manifests / "policy.yaml").write_text(POLICY)
            ending = client.stdout.readline().strip() if client.stdout else ""
            seconds = time.monotonic() - started
        _hold(ending == "cut", f"the open connection ended with {ending!r}")
        _hold(seconds < 1, f"the open connection was cut only after {seconds:.1f} s")
        greeted = self._lab.run(OUTSIDE, "timeout", "5", "python3", "-uc", LISTENER, GREETER)
        _hold("220" not in greeted.stdout, "the other client is still let in")
        greeted = self._lab.run(FRONTEND, "curl", "-sS", "--max-time", "2", f"telnet://{GREETER}:25")
        _hold("220" in greeted.stdout, "the frontend is refused too")
        reason = re.compile(r'dst\.workload="greeter".*error="(connection closed due to policy change[^"]*)"')
        found = reason.search(self._lab.log("node-2-proxy"))
        _hold(found, "the access log does not say why the connection was cut")
        (self._manifests / "policy.yaml").unlink()
        cut = f"cut {seconds * 1000:.0f} ms after the policy was saved; the frontend is still served"
        return f"{cut}\nin the access log: {found and found[1]}"

    def killed(self) -> str:
        self._lab_answers_before = self._answers()
        _hold(self._lab_answers_before, "the shop did not answer before the proxy was killed")
        refused = 0
        with self._wire() as wire:
            for process in self._lab.status()["processes"]:
                if process["name"] == "node-1-proxy":
                    os.kill(process["pid"], signal.SIGKILL)
            self._killed_at = time.monotonic()
            while not self._answers():
                refused += 1
                _hold(time.monotonic() - self._killed_at < 30, "traffic did not resume within 30 s")
            self._seconds_away = time.monotonic() - self._killed_at
        _hold(refused > 0, "no connection was refused while the proxy was away")
        _hold(not wire.carries(SECRET), "the request was readable on the wire")
        return f"{refused} connections refused while it was away; “{SECRET}” was not on the wire"

    def resumed(self) -> str:
        _hold(self._answers(), "the shop does not answer")
        return f"the first answer came {self._seconds_away:.1f} s after the kill, and the pods noticed nothing else"

    def withdraw(self) -> str:
        self._label("")
        until("no pod of the shop is enrolled", lambda: self._enrolled() == 0)
        with self._wire() as wire:
            self._fetch()
        _hold(wire.carries(SECRET), "the request was not seen on the wire")
        return f"“{SECRET}” is readable again, on port {wire.port_of(SECRET)}"

    def down(self) -> str:
        programs = self._lab.programs()
        _hold(programs, "no BPF program of the lab was found")
        self._lab.down()
        left = leftovers(self._lab.name)
        _hold(not left, f"left behind: {', '.join(left)}")
        # The kernel frees what nothing refers to a moment later.
        until("the kernel has let go of every BPF program", lambda: not any(map(libbpf.is_loaded, programs)))
        return (
            f"no namespace, pin, link, cgroup, mount or process is left, and none of its {len(programs)} BPF programs"
        )

    def _wire(self) -> contextlib.AbstractContextManager[Recording]:
        return recorded(self._lab.netns("node-1"))

    def _fetch(self, *options: str) -> str:
        command = ["curl", "-sS", "--max-time", "5", "-H", f"X-Card: {SECRET}", *options, URL]
        done = self._lab.run(FRONTEND, *command)
        _hold(done.returncode == 0, f"curl failed: {done.stderr.strip()}")
        return done.stdout

    def _answers(self) -> bool:
        done = self._lab.run(
            FRONTEND, "curl", "-sS", "--max-time", "5", "-o", "/dev/null", "-H", f"X-Card: {SECRET}", URL
        )
        return done.returncode == 0

    def _label(self, line: str) -> None:
        """Rewrite the namespace's manifest with this label, or with none."""
        labels = f"\n  labels:\n    {line}" if line else ""
        text = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop{labels}\n"
        temporary = self._manifests / ".namespace.yaml"
        temporary.write_text(text)
        temporary.rename(self._manifests / "namespace.yaml")

    def _pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self._lab.status()["pods"] if pod["name"].startswith("shop/")]

    def _enrolled(self) -> int:
        return sum(pod["enrolled"] for pod in self._pods())

    def _container_pids(self) -> dict[str, int]:
        return {pod["name"]: pod["pid"] for pod in self._pods()}


def _hold(claim: object, otherwise: str) -> None:
    if not claim:
        raise UnavailableError(otherwise)


def walk(demo: Demo) -> bool:
    """Run every step, print it with its evidence; False as soon as one does not hold."""
    for number, (claim, step) in enumerate(demo.steps(), start=1):
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
            held = walk(Demo(lab, manifests))
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
