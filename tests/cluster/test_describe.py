"""`weft describe` on the objects of a real API server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.cluster import ControlPlane

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "daemonset/crds"


def described(plane: ControlPlane, target: str) -> Any:
    command = [sys.executable, "-m", "agent.cli.main", "describe", f"--kubeconfig={plane.kubeconfig}", "-ojson", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_service_of_a_cluster_is_described_with_its_pods_policies_and_routes(
    plane: ControlPlane, gateway_api: None, namespace: str
) -> None:
    plane.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={CRDS}")
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    plane.kubectl("label", "namespace", namespace, "istio.io/dataplane-mode=ambient")
    plane.kubectl("create", "--filename=-", f"--namespace={namespace}", stdin="\n---\n".join(map(json.dumps, OBJECTS)))
    found = described(plane, f"svc/{namespace}/web")
    assert [(pod["name"], pod["state"]) for pod in found["pods"]] == [("web", "enrolled")]
    assert [(each["name"], each["enforced"]) for each in found["policies"]] == [(f"{namespace}/web", True)]
    (service,) = found["services"]
    assert [each["object"] for each in service["routes"]] == [
        f"VirtualService {namespace}/web",
        f"HTTPRoute {namespace}/web",
    ]
    assert len(service["addresses"]) == 1


LABELS = {"app": "web"}
NAMED = {"name": "web"}
OBJECTS = (
    {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": NAMED,
        "spec": {
            "serviceName": "web",
            "replicas": 0,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "web", "image": "web"}]}},
        },
    },
    {"apiVersion": "v1", "kind": "Service", "metadata": NAMED, "spec": {"selector": LABELS, "ports": [{"port": 80}]}},
    {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": NAMED,
        "spec": {"selector": {"matchLabels": LABELS}, "rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": NAMED,
        "spec": {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": NAMED,
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        },
    },
)
