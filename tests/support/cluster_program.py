"""One program of the control plane: started, awaited until it serves, and ended whatever happens."""

from __future__ import annotations

import contextlib
import functools
import http.client
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.lab import namespaces

START_SECONDS = 60.0
POLL_SECONDS = 0.02
# An API server that ends gracefully waits for its watches, up to a minute: it is killed before that.
STOP_SECONDS = 2.0
SCRIPT = Path(__file__).parents[2] / "scripts/kubernetes.sh"


@functools.cache
def made(what: str) -> Path:
    """The folder of the `programs` or the `definitions` that scripts/kubernetes.sh made."""
    answer = subprocess.run([SCRIPT, "where", what], check=True, capture_output=True, text=True, timeout=30)
    folder = Path(answer.stdout.strip())
    assert folder.is_dir(), f"{folder} is missing: run scripts/kubernetes.sh (`make cluster` does)"
    return folder


@dataclass(frozen=True)
class Probe:
    """Where a program answers 200 once it serves; a context makes it HTTPS, a namespace's name asks in there."""

    address: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None
    namespace: str = ""

    def is_answered(self) -> bool:
        return namespaces.inside(self.namespace, self._ask) if self.namespace else self._ask()

    def _ask(self) -> bool:
        if self.tls is None:
            connection = http.client.HTTPConnection(self.address, self.port, timeout=5)
        else:
            connection = http.client.HTTPSConnection(self.address, self.port, timeout=5, context=self.tls)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False  # not listening yet, or not ready for requests
        finally:
            connection.close()


@dataclass
class Program:
    """A started program."""

    name: str
    command: Sequence[str | Path]
    log: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def started(cls, name: str, command: Sequence[str | Path], log: Path) -> Program:
        return cls(name, command, log, _start(command, log))

    def kill(self) -> None:
        """At once, as when its machine dies."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def start_again(self) -> None:
        """As it was started. From the main thread: it ends with the thread that starts it."""
        self.process = _start(self.command, self.log)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def await_ready(self, probe: Probe) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not probe.is_answered():
            assert self.process.poll() is None, f"{self.name} ended: {self._last_lines()}"
            assert time.monotonic() < deadline, f"{self.name} did not become ready: {self._last_lines()}"
            time.sleep(POLL_SECONDS)

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def running(name: str, options: Sequence[str], folder: Path, namespace: str = "") -> Iterator[Program]:
    """The program, started, in a network namespace if named; its output goes to FOLDER/NAME.log.

    It ends with the block, or with this process.
    """
    log = folder / f"{name}.log"
    # Tests that are killed clean up nothing: the kernel ends the program then.
    there = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    command = ["setpriv", "--pdeathsig", "KILL", *there, made("programs") / name, *options]
    program = Program.started(name, command, log)
    try:
        yield program
    finally:
        program.stop()


def _start(command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def own_address() -> str:
    """A loopback address for one control plane: no other program is likely to use any of its ports."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


def free_ports(address: str, count: int) -> list[int]:
    """Ports of that address that nobody listens on right now."""
    with contextlib.ExitStack() as open_sockets:
        bound = [open_sockets.enter_context(socket.create_server((address, 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in bound]
