"""`weft analyze --use-kube`: the objects of an API server, by themselves and together with files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.cluster import ControlPlane

SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NAME}\nspec: {ports: [{port: 80, name: NAMED}]}\n"
)
EXIT_FOUND = 79


def analyze(kubeconfig: Path, namespace: str, *arguments: str, given: str = "") -> tuple[int, list[str], str]:
    """Exit status, codes of what was found of the namespace's objects, standard error."""
    command = [sys.executable, "-m", "agent.cli.main", "analyze", "--use-kube", "--kubeconfig", str(kubeconfig)]
    command += ["-n", namespace, "-o", "json", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    found = json.loads(done.stdout) if done.stdout else []
    return done.returncode, [each["code"] for each in found if each["origin"].endswith("/web")], done.stderr


def test_an_object_of_the_cluster_is_analysed_and_a_file_takes_its_place(plane: ControlPlane, namespace: str) -> None:
    service = SERVICE.replace("NAMED", "plain").replace("NAME", namespace)
    plane.kubectl("create", "-f", "-", stdin=service)
    assert analyze(plane.kubeconfig, namespace)[:2] == (0, ["IST0118"])
    mended = service.replace("plain", "http")
    assert analyze(plane.kubeconfig, namespace, "-", given=mended)[:2] == (0, [])
    threshold = ("--failure-threshold", "Info", "--analyzer", "ports.protocols")
    assert analyze(plane.kubeconfig, namespace, *threshold)[0] == EXIT_FOUND


def test_a_kind_that_may_not_be_listed_is_named_and_nothing_is_said_to_be_missing(
    plane: ControlPlane, namespace: str
) -> None:
    plane.kubectl("create", "serviceaccount", "nobody", f"--namespace={namespace}")
    kubeconfig = plane.kubeconfig_of(namespace, "nobody")
    route = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: web, namespace: {namespace}}}\n"
        "spec: {parentRefs: [{group: '', kind: Service, name: web, port: 80}], "
        "rules: [{backendRefs: [{name: web, port: 80}]}]}\n"
    )
    status, codes, said = analyze(kubeconfig, namespace, "-", given=route)
    assert (status, codes) == (0, [])
    assert "not looked at: services" in said
