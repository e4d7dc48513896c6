"""The engine in this process, with pods in network namespaces of their own; no agent, no controller."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from agent._engine import Engine
from agent.lab import namespaces
from agent.model import Identity
from agent.proto import workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.mesh import credentials


@dataclass
class ServedPod:
    """A pod of namespace shop; clients are in its own namespace, so each of its ports can be called."""

    name: str
    address: str
    netns: str
    held: list[socket.socket] = field(default_factory=list)

    def connect(self, port: int, number: int = 1) -> list[socket.socket]:
        """Connections that are held until the world ends; one may have been reset before it was open."""

        def work() -> list[socket.socket]:
            return [self._connect(port) for _ in range(number)]

        self.held += (made := namespaces.inside(self.netns, work))
        return made

    def _connect(self, port: int) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            sock.connect((self.address, port))
        return sock

    def refuses(self, port: int) -> bool:
        """Whether a connection to this port is reset or closed at once."""

        def work() -> bool:
            try:
                with socket.create_connection((self.address, port), timeout=5) as sock:
                    return sock.recv(1) == b""
            except ConnectionResetError:
                return True

        return namespaces.inside(self.netns, work)

    def listen(self, port: int) -> None:
        """An app that accepts nothing."""
        app = namespaces.inside(self.netns, lambda: socket.create_server((self.address, port), backlog=1024))
        self.held.append(app)


@contextlib.contextmanager
def served(engine: Engine, authority: Path, *names: str) -> Iterator[list[ServedPod]]:
    """Pods that the engine serves; discovery is complete, without policies."""
    with contextlib.ExitStack() as stack:
        pods = [stack.enter_context(_pod(number, name)) for number, name in enumerate(names, start=1)]
        resources = [(pod.name, _address(pod).SerializeToString()) for pod in pods]
        assert engine.apply(ADDRESS_TYPE, resources, []) == []
        assert engine.apply(AUTHORIZATION_TYPE, [], []) == []
        stack.callback(engine.close)
        for pod in pods:
            own = credentials(authority, Identity("shop", pod.name))
            engine.set_certificate(str(Identity("shop", pod.name)), own.key, [own.chain], [own.roots])
            with open(f"/run/netns/{pod.netns}", "rb") as file:
                engine.add_pod(pod.name, pod.name, "shop", pod.name, file.fileno())
        yield pods


@contextlib.contextmanager
def _pod(number: int, name: str) -> Iterator[ServedPod]:
    pod = ServedPod(name, f"10.99.1.{number}", f"weft-engine-{uuid.uuid4().hex[:8]}")
    namespaces.create(pod.netns)
    try:
        for command in (["link", "set", "lo", "up"], ["address", "add", f"{pod.address}/32", "dev", "lo"]):
            subprocess.run(["ip", "-n", pod.netns, *command], check=True, timeout=10)
        yield pod
    finally:
        for sock in pod.held:
            sock.close()
        namespaces.delete(pod.netns)


def _address(pod: ServedPod) -> workload_pb2.Address:
    workload = workload_pb2.Workload(
        uid=pod.name,
        name=pod.name,
        namespace="shop",
        service_account=pod.name,
        addresses=[ip_address(pod.address).packed],
        tunnel_protocol=workload_pb2.TunnelProtocol.Value("HBONE"),
    )
    return workload_pb2.Address(workload=workload)
