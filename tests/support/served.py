"""One pod served by an engine and nothing else: no node agent, no controller, no redirection."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from agent._engine import Engine
from agent.lab import namespaces
from agent.model import Identity
from agent.proto import authorization_pb2, workload_pb2
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE, HBONE_PORT
from tests.support.hbone import Credentials, Tunnel
from tests.support.mesh import credentials

ADDRESS, PORT = "10.99.0.1", 8080
# All of it is local to the pod's namespace, so that clients may have any address.
NETWORK = "10.99.0.0/16"
UID = "1"


@dataclass
class Served:
    """The pod "shop/web", whose app accepts on PORT; clients are in its own namespace."""

    netns: str
    engine: Engine
    app: socket.socket
    authority: Path

    def stream(self, account: str) -> tuple[Tunnel, int, socket.socket]:
        """A tunnel of that account with an open stream, and the app's end of it."""
        tunnel = Tunnel(self.connected(HBONE_PORT), credentials(self.authority, Identity("shop", account)))
        stream, status = tunnel.connect(f"{ADDRESS}:{PORT}")
        assert status == 200
        accepted = self.app.accept()[0]
        accepted.settimeout(5)
        return tunnel, stream, accepted

    def connected(self, port: int) -> socket.socket:
        return namespaces.inside(self.netns, lambda: socket.create_connection((ADDRESS, port), timeout=10))

    def knock(self, port: int, sources: Sequence[str]) -> None:
        """A connection from each address, which the other end resets or closes."""

        def knock_once(source: str) -> None:
            # The reset may come before the connect has returned.
            with (
                contextlib.suppress(ConnectionResetError),
                socket.create_connection((ADDRESS, port), timeout=10, source_address=(source, 0)) as sock,
            ):
                assert sock.recv(1) == b""

        def each() -> None:
            for source in sources:
                knock_once(source)

        namespaces.inside(self.netns, each)

    def know(self, workloads: Sequence[workload_pb2.Workload], gone: Sequence[str] = ()) -> None:
        changed = [(each.uid, workload_pb2.Address(workload=each).SerializeToString()) for each in workloads]
        assert self.engine.apply(ADDRESS_TYPE, changed, gone) == []

    def deny(self, account: str, *, dry_run: bool = False) -> None:
        policy = authorization_pb2.Authorization(
            name="no",
            namespace="shop",
            scope="NAMESPACE",
            action=authorization_pb2.Action.Value("DENY"),
            dry_run=dry_run,
        )
        match = policy.rules.add().clauses.add().matches.add()
        match.principals.add().exact = f"cluster.local/ns/shop/sa/{account}"
        assert self.engine.apply(AUTHORIZATION_TYPE, [("shop/no", policy.SerializeToString())], []) == []


def a_workload(name: str, address: str) -> workload_pb2.Workload:
    """A pod of namespace shop as discovery would send it."""
    return workload_pb2.Workload(
        uid=f"Kubernetes//Pod/shop/{name}",
        name=name,
        namespace="shop",
        service_account=name,
        workload_name=name,
        addresses=[ip_address(address).packed],
        tunnel_protocol=workload_pb2.TunnelProtocol.Value("HBONE"),
    )


@contextlib.contextmanager
def served(authority: Path, *, access_log: str = "plain") -> Iterator[Served]:
    """The pod, in a namespace of its own; both are gone at the end."""
    netns = f"weft-served-{os.getpid()}"
    ip = ["ip", "-n", netns]
    subprocess.run(["ip", "netns", "add", netns], check=True, timeout=10)
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["ip", "netns", "delete", netns], check=True, timeout=10)
        subprocess.run([*ip, "link", "set", "lo", "up"], check=True, timeout=10)
        subprocess.run([*ip, "address", "add", NETWORK.replace(".0/", ".1/"), "dev", "lo"], check=True, timeout=10)
        app = stack.enter_context(namespaces.inside(netns, lambda: socket.create_server((ADDRESS, PORT), backlog=128)))
        app.settimeout(10)
        engine = Engine(2, access_log=access_log)
        stack.callback(engine.close)
        pod = Served(netns, engine, app, authority)
        pod.know([a_workload("web", ADDRESS)])
        engine.apply(AUTHORIZATION_TYPE, [], [])
        own: Credentials = credentials(authority, Identity("shop", "web"))
        engine.set_certificate(str(Identity("shop", "web")), own.key, [own.chain], [own.roots])
        with open(f"/var/run/netns/{netns}", "rb") as file:
            engine.add_pod(UID, "web", "shop", "web", file.fileno())
        yield pod
