"""The steps about connections: captured, encrypted, with identities, refused without a proxy, and plain again."""

from __future__ import annotations

import os
import re
import signal
import time

from stage import FRONTEND, SECRET, Stage, hold

from agent.lab.session import leftovers, until
from agent.node import libbpf

AMBIENT = "istio.io/dataplane-mode: ambient"


class Traffic:
    """What the mesh does to connections. A step that does not hold raises UnavailableError."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lab = stage.lab
        self._seconds_away = 0.0

    def outside(self) -> str:
        with self._stage.wire() as wire:
            self._stage.fetch()
        hold(wire.carries(SECRET), "the request was not seen on the wire")
        return f"“{SECRET}” was read off the wire, in plain HTTP to port {wire.port_of(SECRET)}"

    def enrol(self) -> str:
        before = self._stage.container_pids()
        started = time.monotonic()
        self._stage.label(AMBIENT)
        until("every pod of the shop is enrolled", lambda: self._stage.enrolled() == len(before))
        seconds = time.monotonic() - started
        hold(self._stage.container_pids() == before, "a pod was restarted")
        pids = ", ".join(f"{name.removeprefix('shop/')} {pid}" for name, pid in before.items())
        return f"{len(before)} pods captured in {seconds:.1f} s; every process still has its pid ({pids})"

    def encrypted(self) -> str:
        with self._stage.wire() as wire:
            self._stage.fetch()
            redis = self._lab.run(FRONTEND, "redis-cli", "-h", "redis.shop", "SET", "card", SECRET)
        hold(redis.stdout.strip() == "OK", f"redis answered {redis.stdout!r} {redis.stderr!r}")
        hold(not wire.carries(SECRET), "the request was readable on the wire")
        hold(wire.ports() == {15008}, f"data went to ports {wire.ports()}")
        hold(wire.tls13_port() == 15008, "no TLS 1.3 handshake with port 15008 was seen")
        return f"{wire.payload_bytes()} bytes to and from port 15008 only, TLS 1.3; “{SECRET}” is in none of them"

    def identities(self) -> str:
        done = self._stage.fetch("-w", "%{local_ip} %{remote_ip}", "-o", "/dev/stdout")
        server_saw, client_said = done.splitlines()[0], done.splitlines()[-1]
        pod = next(pod for pod in self._lab.status()["pods"] if pod["name"] == FRONTEND)
        local, remote = client_said.split()
        hold(local in pod["addresses"], f"the client sees itself as {local}, its pod has {pod['addresses']}")
        hold(local in server_saw, f"the server saw {server_saw!r}, not {local}")
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

    def killed(self) -> str:
        hold(self._stage.answers(), "the shop did not answer before the proxy was killed")
        refused = 0
        with self._stage.wire() as wire:
            for process in self._lab.status()["processes"]:
                if process["name"] == "node-1-proxy":
                    os.kill(process["pid"], signal.SIGKILL)
            self._killed_at = time.monotonic()
            while not self._stage.answers():
                refused += 1
                hold(time.monotonic() - self._killed_at < 30, "traffic did not resume within 30 s")
            self._seconds_away = time.monotonic() - self._killed_at
        hold(refused > 0, "no connection was refused while the proxy was away")
        hold(not wire.carries(SECRET), "the request was readable on the wire")
        return f"{refused} connections refused while it was away; “{SECRET}” was not on the wire"

    def resumed(self) -> str:
        hold(self._stage.answers(), "the shop does not answer")
        return f"the first answer came {self._seconds_away:.1f} s after the kill, and the pods noticed nothing else"

    def withdraw(self) -> str:
        self._stage.label("")
        until("no pod of the shop is enrolled", lambda: self._stage.enrolled() == 0)
        with self._stage.wire() as wire:
            self._stage.fetch()
        hold(wire.carries(SECRET), "the request was not seen on the wire")
        return f"“{SECRET}” is readable again, on port {wire.port_of(SECRET)}"

    def down(self) -> str:
        programs = self._lab.programs()
        hold(programs, "no BPF program of the lab was found")
        self._lab.down()
        left = leftovers(self._lab.name)
        hold(not left, f"left behind: {', '.join(left)}")
        # The kernel frees what nothing refers to a moment later.
        until("the kernel has let go of every BPF program", lambda: not any(map(libbpf.is_loaded, programs)))
        return (
            f"no namespace, pin, link, cgroup, mount or process is left, and none of its {len(programs)} BPF programs"
        )
