"""The policies that newcomers copy from Istio's guides: mesh-wide STRICT, and an ALLOW rule for GET requests.

No waypoint is there to read requests, so the rule allows nothing, and says so wherever somebody may look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.lab.session import until
from tests.support.command import weft
from tests.support.mesh import Mesh, shop

APPS = """\
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: frontend, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: frontend, namespace: default, labels: {app: frontend}}
spec:
  nodeName: node-1
  serviceAccountName: frontend
  containers: [{name: shell, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: myapp, namespace: default, labels: {app: myapp}}
spec:
  nodeName: node-2
  containers:
    - name: server
      command: [python3, -m, http.server, "--bind", "::", "8000"]
      readinessProbe: {tcpSocket: {port: 8000}}
---
apiVersion: v1
kind: Service
metadata: {name: myapp, namespace: default}
spec:
  selector: {app: myapp}
  ports: [{name: http, port: 80, targetPort: 8000}]
"""
STRICT = """\
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
ALLOW_READ = """\
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: allow-read, namespace: default}
spec:
  selector: {matchLabels: {app: myapp}}
  action: ALLOW
  rules:
  - from:
    - source: {principals: ["cluster.local/ns/default/sa/frontend"]}
    to:
    - operation: {methods: ["GET"]}
"""
FRONTEND, OUTSIDE, MYAPP = "default/frontend", "outside/client", "http://myapp.default/"


@pytest.fixture(scope="module")
def guided() -> Iterator[Mesh]:
    """The shop, and beside it an app in namespace `default` that everybody may call."""
    with shop("g") as mesh:
        mesh.write("apps.yaml", APPS)
        until("the frontend is let in", lambda: lets_in(mesh, FRONTEND, MYAPP))
        until("the app is enrolled", lambda: all(pod["enrolled"] for pod in mesh.pods("default")))
        until("the client outside is let in", lambda: lets_in(mesh, OUTSIDE, MYAPP))
        yield mesh


def lets_in(mesh: Mesh, pod: str, url: str) -> bool:
    return mesh.curl(url, pod=pod).returncode == 0


def explained(mesh: Mesh, source: str, target: str) -> tuple[int, dict[str, Any]]:
    done = weft("explain", "--lab", mesh.lab.name, "-o", "json", source, target)
    return done.returncode, json.loads(done.stdout)


def policy_in_status(mesh: Mesh, name: str) -> dict[str, Any]:
    found = json.loads(weft("status", "--lab", mesh.lab.name, "-o", "json").stdout)
    (policy,) = (each for each in found["policies"] if each["name"] == name)
    return dict(policy)


def logged(mesh: Mesh, client: str, reason: str) -> bool:
    """Whether a line about this client at the app's node gives the reason."""
    lines = mesh.lab.log("node-2-proxy").splitlines()
    return any(client in line and 'dst.workload="myapp"' in line and reason in line for line in lines)


def test_strict_for_the_mesh_refuses_who_has_no_identity_and_nobody_else(guided: Mesh) -> None:
    guided.write("strict.yaml", STRICT)
    until("the client outside is refused", lambda: not lets_in(guided, OUTSIDE, MYAPP), timeout=5)
    assert lets_in(guided, FRONTEND, MYAPP)
    assert not lets_in(guided, OUTSIDE, "http://web.shop/"), "the mesh's policy reaches every namespace"
    until("the log says why", lambda: logged(guided, "client", "istio_converted_static_strict"))
    status, found = explained(guided, OUTSIDE, "myapp.default:80")
    assert (status, found["endpoints"][0]["policy"]) == (1, "istio-system/istio_converted_static_strict")
    assert any("PeerAuthentication istio-system/default" in advice for advice in found["advice"])
    assert policy_in_status(guided, "default")["enforced"] is True


def test_an_allow_rule_for_requests_allows_nothing_and_says_why(guided: Mesh) -> None:
    guided.write("allow-read.yaml", ALLOW_READ)
    until("the frontend is refused", lambda: not lets_in(guided, FRONTEND, MYAPP), timeout=5)
    until("the log names the policy", lambda: logged(guided, "frontend", "default/allow-read"))
    status, found = explained(guided, FRONTEND, "myapp.default:80")
    assert (status, found["verdict"]) == (1, "refused")
    assert "default/allow-read" in json.dumps(found)
    policy = policy_in_status(guided, "allow-read")
    assert policy["enforced"] is False
    assert "methods" in json.dumps(policy)
    assert lets_in(guided, FRONTEND, "http://web.shop/"), "other apps are not the policy's"
