"""The example shop in a lab, as the tests of the whole mesh use it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.controller.authority import ca
from agent.lab import namespaces
from agent.lab.session import Session, until
from agent.model import Identity
from agent.wire import DATAPLANE_MODE_LABEL
from tests.support.hbone import Credentials

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
HOUR = timedelta(hours=1)
RATE = 300


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running lab with the shop; `manifests` is the folder whose edits take effect."""

    lab: Session
    manifests: Path
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def pod(self, name: str) -> dict[str, Any]:
        """What the lab's status says of a pod, NAMESPACE/NAME: uid and addresses, which stay."""
        if name not in self.known:
            self.known.update({pod["name"]: pod for pod in self.lab.status()["pods"]})
        return self.known[name]

    def pods(self, namespace: str = "shop") -> list[dict[str, Any]]:
        return [pod for pod in self.lab.status()["pods"] if pod["name"].startswith(f"{namespace}/")]

    def service(self, name: str) -> list[str]:
        """A service's addresses, IPv4 first."""
        namespace, _, short = name.partition("/")
        found = json.loads((self.lab.folder / "state" / "services" / f"{namespace}_{short}.json").read_text())
        return sorted(found["spec"]["clusterIPs"], key=lambda address: ":" in address)

    def running(self, name: str) -> int | None:
        """The pid of a process of the mesh, None while it is down."""
        found = next(process["pid"] for process in self.lab.status()["processes"] if process["name"] == name)
        return int(found) if found else None

    def process(self, name: str) -> int:
        """The pid of a process of the mesh, once it runs."""
        until(f"{name} runs", lambda: self.running(name))
        pid = self.running(name)
        assert pid is not None
        return pid

    def label(self, mode: str | None) -> None:
        """Write the shop's namespace with this dataplane mode, or without the label."""
        label = f"  labels: {{{DATAPLANE_MODE_LABEL}: {mode}}}\n" if mode else ""
        self.write("namespace.yaml", f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n{label}")

    def write(self, name: str, text: str) -> None:
        """A manifest file, in place at once."""
        temporary = self.manifests / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.manifests / name)

    def enrol(self) -> None:
        self.label("ambient")
        until("every pod of the shop is enrolled", lambda: all(pod["enrolled"] for pod in self.pods()))

    def withdraw(self) -> None:
        self.label(None)
        until("no pod of the shop is enrolled", lambda: not any(pod["enrolled"] for pod in self.pods()))

    def curl(self, url: str, *options: str, pod: str = "shop/frontend") -> subprocess.CompletedProcess[str]:
        return self.lab.run(pod, "curl", "-sS", "-g", "--max-time", "10", *options, url)

    def greeting(self, port: int = 25, pod: str = "shop/frontend") -> str:
        """The first line that the greeter says; empty when there is no connection."""
        read = 'read -r -t 10 line <"/dev/tcp/$0/$1" && echo "$line"'
        return self.lab.run(pod, "bash", "-c", read, self.service("shop/greeter")[0], str(port)).stdout

    def scrape(self, node: str, port: int, path: str) -> str:
        """What a process of a node answers over HTTP on its own loopback."""

        def ask() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return str(answer.read().decode())

        return namespaces.inside(self.lab.netns(node), ask)

    def connect(self, pod: str, address: str, port: int) -> socket.socket:
        """A TCP connection made in a pod's namespace by this process, which no node's hooks see."""
        netns = f"weft-{self.lab.name}-pod-{self.pod(pod)['uid'][:8]}"
        return namespaces.inside(netns, lambda: socket.create_connection((address, port), timeout=10))

    def credentials(self, identity: Identity, *, life: timedelta = HOUR, age: timedelta = timedelta()) -> Credentials:
        """A certificate of the mesh's own authority, as if issued `age` ago."""
        return credentials(self.lab.folder / "ca", identity, life=life, age=age)


def credentials(
    directory: Path, identity: Identity, *, life: timedelta = HOUR, age: timedelta = timedelta(), roots: bytes = b""
) -> Credentials:
    """A certificate of the authority in a directory, which is made if absent; `roots` replaces what is believed."""
    now = datetime.now(UTC)
    authority = ca.load_or_create(directory, now)
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    leaf = (
        # By hand: the authority itself signs nothing that has expired.
        x509.CertificateBuilder(x509.Name(authority.root.subject), x509.Name([]), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age - timedelta(minutes=1))
        .not_valid_after(now - age + life)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Credentials(roots or authority.root_pem.encode(), leaf.public_bytes(serialization.Encoding.PEM), pem)


def identity_in(certificate: bytes) -> str:
    """The SPIFFE ID in a DER certificate."""
    names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return str(names.value.get_values_for_type(x509.UniformResourceIdentifier)[0])


@dataclass(slots=True)
class Load:
    """What a load has seen; complete once its block has ended."""

    made: int = 0
    failures: tuple[str, ...] = ()


@contextlib.contextmanager
def load(mesh: Mesh, *, client: str = "shop/frontend", service: str = "shop/web", rate: int = RATE) -> Iterator[Load]:
    """New connections from a pod to a service while the block runs; it answers one HTTP request on each."""
    seen = Load()
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.support.load"]
    with mesh.lab.started(client, *command, mesh.service(service)[0], "80", str(rate)) as process:
        yield seen
        said, errors = process.communicate(timeout=60)
        assert said, errors
        found = json.loads(said)
    seen.made, seen.failures = found["made"], tuple(found["failures"])


def opened(mesh: Mesh) -> float:
    """Connections that node 1's proxy has opened for its pods."""
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in mesh.scrape("node-1", 15020, "/metrics").splitlines()
        if line.startswith("istio_tcp_connections_opened_total") and 'reporter="source"' in line
    )


@contextlib.contextmanager
def shop(suffix: str, *, env: tuple[str, ...] = (), enrolled: bool = True) -> Iterator[Mesh]:
    """A lab of its own with the shop in it; taken down at the end, whatever happens."""
    lab = Session(f"t{os.getpid()}{suffix}")
    with tempfile.TemporaryDirectory(prefix="weft-test-") as folder:
        manifests = Path(folder) / "shop"
        shutil.copytree(SHOP, manifests, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        mesh = Mesh(lab, manifests)
        try:
            lab.up(manifests, env=env)
            if enrolled:
                mesh.enrol()
            yield mesh
        finally:
            lab.down()
