"""Readiness probes: as a kubelet's, but made inside the pod, to its own address.

A kubelet calls from the node. In the lab that would be a client without an identity, which a
policy may refuse; what a pod says to itself is never the mesh's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from agent.api.kubernetes import Container, HttpGetAction, PortReference, Probe
from agent.lab import commands, namespaces
from agent.lab.sandbox import Sandbox

UNTIL_FIRST_SUCCESS_SECONDS = 0.2  # a lab must come up at once; later the probe's own period counts


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the last results add up. Rules only."""

    is_ready: bool = False
    successes: int = 0
    failures: int = 0

    def after(self, *, succeeded: bool, probe: Probe) -> Readiness:
        successes = self.successes + 1 if succeeded else 0
        failures = 0 if succeeded else self.failures + 1
        is_ready = self.is_ready
        if successes >= probe.success_threshold:
            is_ready = True
        elif failures >= probe.failure_threshold:
            is_ready = False
        return Readiness(is_ready, successes, failures)


def port_number(container: Container, port: PortReference) -> int | None:
    """The number of a port that may be given by its name."""
    if isinstance(port, int):
        return port
    return next((known.container_port for known in container.ports if known.name == port), None)


async def succeeds(probe: Probe, container: Container, sandbox: Sandbox) -> bool:
    """Whether the probe succeeds once, within its timeout."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.exec is not None:
                return await _exec(list(probe.exec.command), container, sandbox)
            action = probe.http_get or probe.tcp_socket
            port = port_number(container, action.port) if action is not None else None
            if action is None or port is None:
                return False
            with await _connected(sandbox, action.host or sandbox.address.texts[0], port) as connection:
                return probe.http_get is None or await _http(connection, probe.http_get)
    except (TimeoutError, OSError):
        return False


async def _connected(sandbox: Sandbox, host: str, port: int) -> socket.socket:
    family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
    connection = await asyncio.to_thread(namespaces.open_socket, sandbox.netns, family)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def _http(connection: socket.socket, action: HttpGetAction) -> bool:
    if action.scheme == "HTTPS":
        return True  # it accepts connections; a kubelet does not check the certificate either
    loop = asyncio.get_running_loop()
    request = f"GET {action.path} HTTP/1.1\r\nHost: {action.host or 'localhost'}\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(connection, request.encode())
    answer = b""
    while b"\r\n" not in answer and len(answer) < 4096:
        if not (part := await loop.sock_recv(connection, 4096)):
            break
        answer += part
    status = answer.split(b" ", 2)[1:2]
    return bool(status) and status[0].isdigit() and 200 <= int(status[0]) < 400


async def _exec(words: list[str], container: Container, sandbox: Sandbox) -> bool:
    line = commands.in_pod(sandbox.pause_pid, sandbox.container_cgroup(container.name), words)
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*line, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        return await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
