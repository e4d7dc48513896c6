"""The real controller, given an API server: it registers its webhook there, and answers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import wire
from agent.controller import registration
from agent.kube import StateDirectory
from tests.support.cluster import ControlPlane, KubectlError
from tests.support.cluster_program import own_address
from tests.support.relay import Place, relay
from tests.support.webhook import istiod

CRDS = Path(__file__).parents[2] / "daemonset/crds"
PATIENCE_SECONDS = 30.0
MISTAKE = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/33"]}}]}]},
}


@pytest.fixture
def controller(plane: ControlPlane, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Running, with the administrator's kubeconfig; its registration is gone afterwards."""
    StateDirectory.create_at(tmp_path / "state")
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    environment = {
        "PATH": os.environ["PATH"],
        "WEFT_STATE_DIRECTORY": str(tmp_path / "state"),
        "WEFT_CA_DIRECTORY": str(tmp_path / "ca"),
        "WEFT_TOKEN_JWKS": str(tmp_path / "jwks.json"),
        "WEFT_KUBECONFIG": str(plane.kubeconfig),
    }
    command = [sys.executable, "-m", "agent.cli.main", "controller"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stderr=log, cwd=CRDS.parents[1])
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        plane.kubectl("delete", "validatingwebhookconfiguration", registration.NAME, "--ignore-not-found")


def test_it_registers_its_webhook_and_refuses_a_mistake(
    plane: ControlPlane, controller: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    plane.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={CRDS}")
    plane.kubectl(
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        f"--filename={CRDS}/authorizationpolicies.security.istio.io.yaml",
    )
    asked, answering = Place(own_address(), registration.SERVICE_PORT), Place("127.0.0.1", wire.WEBHOOK_PORT)
    with relay(asked, answering), istiod(plane, asked.address):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "denied the request: AuthorizationPolicy default/web" not in (said := refusal(plane)):
            assert controller.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (said, (tmp_path / "log").read_text())
    controller.terminate()
    assert controller.wait(10) == 0


def refusal(plane: ControlPlane) -> str:
    try:
        return plane.kubectl("apply", "--dry-run=server", "--filename=-", stdin=json.dumps(MISTAKE))
    except KubectlError as exc:
        return str(exc)
