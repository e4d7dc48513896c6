"""A real control plane on loopback, for tests: etcd, API server, controller manager and scheduler, but no kubelet.

RBAC is on, and service account tokens are real. What differs from a cluster in use: etcd does not sync to disk; nodes
are objects that a test writes, so nothing taints them or waits for their heartbeats; no volumes, no cloud. Pods run
nowhere: whoever plays the kubelet reports their status, and deletes them with a grace period of 0.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.lab.addresses import CONTROL_ADDRESS
from agent.lab.kubernetes.endpoints import API_PORT
from tests.support.cluster_pki import Authority, User, write_signing_key
from tests.support.cluster_program import Probe, Program, free_ports, made, own_address, running
from tests.support.relay import Place, relay

ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"  # the API server's own, which its certificate has to name
COMMAND_SECONDS = 60
LOOPBACK = "127.0.0.1"
USERS = {
    "admin": User("admin", "system:masters"),
    "controller-manager": User("system:kube-controller-manager"),
    "scheduler": User("system:kube-scheduler"),
}
# They look after what this control plane does not have: live nodes, volumes, clouds, and bootstrap tokens.
UNUSED_CONTROLLERS = (
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "device-taint-eviction-controller",
    "node-ipam-controller",
    "node-route-controller",
    "cloud-node-lifecycle-controller",
    "service-lb-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "ephemeral-volume-controller",
    "bootstrap-signer-controller",
    "token-cleaner-controller",
)


class KubectlError(Exception):
    """A kubectl command failed; the text is what it complained about."""


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane; everything it keeps is in its folder."""

    folder: Path
    url: str
    etcd_url: str
    namespace: str = ""  # the network namespace that it is in; the url leads there
    programs: dict[str, tuple[Program, Probe]] = field(default_factory=dict, compare=False)  # etcd and the API server

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """What kubectl prints; KubectlError with its complaint when it fails."""
        command = [made("programs") / "kubectl", f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        environment = {"HOME": str(self.folder)}  # where it caches what the server offers
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip())
        return done.stdout

    def kubeconfig_of(self, namespace: str, account: str, *audiences: str) -> Path:
        """A kubeconfig whose user is that service account, by a token that the API server issued for ten minutes."""
        asked = [f"--audience={audience}" for audience in audiences]
        token = self.kubectl("create", "token", account, f"--namespace={namespace}", "--duration=10m", *asked).strip()
        path = self.folder / f"{namespace}_{account}.kubeconfig"
        write_kubeconfig(path, self.url, self.ca, {"token": token})
        return path


@dataclass(frozen=True)
class Site:
    """Where a control plane listens: on an address of its own, its API server on `bound`, in a namespace if named."""

    address: str
    bound: str
    etcd_port: int
    api_port: int
    other_ports: tuple[int, int, int]  # etcd's for its peers, the controller manager's, the scheduler's
    namespace: str = ""


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """A control plane of its own, ready for requests; it ends with the block."""
    address = own_address()
    client, api, peer, manager, scheduler = free_ports(address, 5)
    plane = ControlPlane(folder, f"https://{address}:{api}", f"http://{address}:{client}")
    with _running(plane, Site(address, address, client, api, (peer, manager, scheduler)), plane.url):
        yield plane


@contextlib.contextmanager
def control_plane_in(folder: Path, namespace: str) -> Iterator[ControlPlane]:
    """One in a network namespace, whose API server listens on all addresses there and calls Services' endpoints."""
    site = Site(LOOPBACK, "0.0.0.0", 2379, API_PORT, (2380, 10257, 10259), namespace)
    with relay(Place(LOOPBACK, 0), Place(LOOPBACK, API_PORT, namespace)) as port:
        plane = ControlPlane(folder, f"https://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{site.etcd_port}", namespace)
        with _running(plane, site, f"https://{LOOPBACK}:{API_PORT}"):
            yield plane


@contextlib.contextmanager
def _running(plane: ControlPlane, site: Site, own_url: str) -> Iterator[None]:
    """own_url: the API server for the others."""
    folder, address, namespace = plane.folder, site.address, site.namespace
    peer, manager, scheduler = site.other_ports
    _write_keys(folder, address)
    write_kubeconfig(plane.kubeconfig, plane.url, plane.ca, _certificate_user(folder, "admin"))
    for name in ("controller-manager", "scheduler"):
        write_kubeconfig(folder / f"{name}.kubeconfig", own_url, plane.ca, _certificate_user(folder, name))
    with contextlib.ExitStack() as stack:
        (folder / "etcd").mkdir(mode=0o700)
        stack.callback(shutil.rmtree, folder / "etcd")  # it is large, and the logs say more
        options = _etcd_options(plane, f"http://{address}:{peer}")
        etcd = stack.enter_context(running("etcd", options, folder, namespace))
        plane.programs["etcd"] = etcd, Probe(address, site.etcd_port, "/health", namespace=namespace)
        etcd.await_ready(plane.programs["etcd"][1])
        server = stack.enter_context(running("kube-apiserver", _server_options(plane, site), folder, namespace))
        verified = ssl.create_default_context(cafile=str(plane.ca))
        plane.programs["kube-apiserver"] = server, Probe(address, site.api_port, "/readyz", verified, namespace)
        server.await_ready(plane.programs["kube-apiserver"][1])
        others = {
            "controller-manager": (manager, _manager_options(folder)),
            "scheduler": (scheduler, []),
        }
        started = []
        for name, (port, more) in others.items():
            all_options = [*_client_options(folder, name, address, port), *more]
            program = stack.enter_context(running(f"kube-{name}", all_options, folder, namespace))
            started.append((program, Probe(address, port, "/healthz", _unverified(), namespace)))
        for program, probe in started:
            program.await_ready(probe)
        yield


def _etcd_options(plane: ControlPlane, peer_url: str) -> list[str]:
    return [
        "--name=test",
        f"--data-dir={plane.folder / 'etcd'}",
        f"--listen-client-urls={plane.etcd_url}",
        f"--advertise-client-urls={plane.etcd_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=test={peer_url}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _server_options(plane: ControlPlane, site: Site) -> list[str]:
    folder = plane.folder
    return [
        f"--etcd-servers={plane.etcd_url}",
        f"--bind-address={site.bound}",
        f"--secure-port={site.api_port}",
        f"--advertise-address={site.address}",
        # To call a webhook by its Service's endpoints: nothing here serves cluster addresses to the API server.
        *(["--enable-aggregator-routing=true"] if site.namespace else []),
        "--endpoint-reconciler-type=none",  # a loopback address is no valid endpoint of the API server's Service
        f"--tls-cert-file={folder}/apiserver.crt",
        f"--tls-private-key-file={folder}/apiserver.key",
        f"--client-ca-file={folder}/ca.crt",
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={folder}/sa.pub",
        f"--service-account-signing-key-file={folder}/sa.key",
        f"--requestheader-client-ca-file={folder}/front-proxy-ca.crt",  # without it the others log errors for ever
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--kubelet-client-certificate={folder}/kubelet-client.crt",
        f"--kubelet-client-key={folder}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
        f"--cert-dir={folder}/apiserver",
        "--disable-admission-plugins=TaintNodesByCondition",  # nobody would take the taint off a test's node
    ]


def _client_options(folder: Path, name: str, address: str, port: int) -> list[str]:
    kubeconfig = folder / f"{name}.kubeconfig"
    options = [
        f"--{kind}={kubeconfig}" for kind in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    ]
    serving = [f"--bind-address={address}", f"--secure-port={port}", f"--cert-dir={folder / name}"]
    unthrottled = ("--kube-api-qps=500", "--kube-api-burst=1000")
    return [*options, *serving, *unthrottled, "--leader-elect=false", "--profiling=false"]


def _manager_options(folder: Path) -> list[str]:
    return [
        f"--service-account-private-key-file={folder}/sa.key",
        f"--root-ca-file={folder}/ca.crt",
        "--use-service-account-credentials=true",
        f"--cluster-signing-cert-file={folder}/ca.crt",
        f"--cluster-signing-key-file={folder}/ca.key",
        f"--controllers={','.join(['*', *(f'-{name}' for name in UNUSED_CONTROLLERS)])}",
    ]


def _unverified() -> ssl.SSLContext:
    """For the programs that make a certificate of their own; nothing secret is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _write_keys(folder: Path, address: str) -> None:
    authority = Authority(folder, "ca")
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    authority.server("apiserver", ("localhost", *service), (address, FIRST_SERVICE, str(CONTROL_ADDRESS.v4)))
    for name, user in USERS.items():
        authority.client(name, user)
    authority.client("kubelet-client", User("kube-apiserver-kubelet-client", "system:masters"))
    Authority(folder, "front-proxy-ca")
    write_signing_key(folder)


def _certificate_user(folder: Path, name: str) -> dict[str, str]:
    return {
        "client-certificate-data": _encoded(folder / f"{name}.crt"),
        "client-key-data": _encoded(folder / f"{name}.key"),
    }


def write_kubeconfig(path: Path, url: str, ca: Path, user: dict[str, str]) -> None:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority-data": _encoded(ca)}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
